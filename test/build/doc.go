// Package build checks what the compiler does not: which package may import which,
// who may talk to the kernel, and that every package says what it is.
package build
