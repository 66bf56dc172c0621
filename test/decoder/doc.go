// Package decoder has what we send read by somebody else: a C program made from the
// layouts of the protocol, which shares no code with package wire and complains of
// what a BSD kernel would count as an error or should not be told.
package decoder
