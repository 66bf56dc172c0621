package main

import "strings"

// withValue are the options that take a value; all others of one letter take none.
const withValue = "ricswCW"

// separate takes clusters of options apart as getopt(3) does, for cli does not know values
// that are attached to their option: -nvc1 becomes -n -v -c 1.
func separate(args []string) []string {
	var out []string
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" || !strings.HasPrefix(word, "-") || word == "-" {
			return append(append(out, word), args...) // operands
		}
		if strings.HasPrefix(word, "--") {
			out = append(out, word)
			continue
		}
		for i, letter := range word[1:] {
			out = append(out, "-"+string(letter))
			if !strings.ContainsRune(withValue, letter) {
				continue
			}
			if rest := word[1+i+1:]; rest != "" {
				out = append(out, rest)
			} else if len(args) > 0 {
				out, args = append(out, args[0]), args[1:]
			}
			break
		}
	}
	return out
}
