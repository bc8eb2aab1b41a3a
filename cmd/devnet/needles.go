package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// minNeedle is the length from which on a needle is worth searching for, in
// bytes: three random bytes turn up in a megabyte of noise, five do not.
const minNeedle = 5

// minWord is the length from which on a word of a message is a needle by itself.
const minWord = 6

// needle is something that must not be seen on the wire, in one of the forms
// in which it could be.
type needle struct {
	kind, what, form string
	bytes            []byte
}

// needles is a set to search for, without repetitions.
type needles struct {
	all   []needle
	known map[string]bool
}

func (n *needles) add(kind, what, form string, b []byte) {
	if len(b) < minNeedle || n.known[string(b)] {
		return
	}
	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[string(b)] = true
	n.all = append(n.all, needle{kind, what, form, bytes.Clone(b)})
}

// text adds s, which a person could read.
func (n *needles) text(kind, what, s string) {
	n.add(kind, what, "as it is", []byte(s))
	n.add(kind, what, "in lower case", []byte(strings.ToLower(s)))
	n.add(kind, what, "in upper case", []byte(strings.ToUpper(s)))
	var wide []byte
	for _, u := range utf16.Encode([]rune(s)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	n.add(kind, what, "in UTF-16", wide)
	n.encoded(kind, what, []byte(s))
}

// words adds the longer words of a text.
func (n *needles) words(kind, s string) {
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(" ,.?!", r) }) {
		if len(word) >= minWord {
			n.text(kind, word, word)
		}
	}
}

// raw adds bytes.
func (n *needles) raw(kind, what string, b []byte) {
	n.add(kind, what, "raw", b)
	turned := bytes.Clone(b)
	for i, j := 0, len(turned)-1; i < j; i, j = i+1, j-1 {
		turned[i], turned[j] = turned[j], turned[i]
	}
	n.add(kind, what, "reversed", turned)
	n.encoded(kind, what, b)
}

// encoded adds bytes in hex, and in base64 at each of the three places where
// they can begin within a longer string.
func (n *needles) encoded(kind, what string, b []byte) {
	digits := hex.EncodeToString(b)
	n.add(kind, what, "in hex", []byte(digits))
	n.add(kind, what, "in upper-case hex", []byte(strings.ToUpper(digits)))
	for shift := range 3 {
		// The characters at the ends depend on the neighbours too.
		s := base64.StdEncoding.EncodeToString(append(make([]byte, shift), b...))
		from, to := (shift*8+5)/6, (shift+len(b))*8/6
		if from < to {
			n.add(kind, what, "in base64", []byte(s[from:to]))
		}
	}
}

// count returns how many different things there are of each kind.
func (n *needles) count() map[string]int {
	seen, counts := map[[2]string]bool{}, map[string]int{}
	for _, x := range n.all {
		if key := [2]string{x.kind, x.what}; !seen[key] {
			seen[key] = true
			counts[x.kind]++
		}
	}
	return counts
}

// find returns the needles that are in some of the haystack, each once.
func find(hay [][]byte, all []needle) []needle {
	var found []needle
	for _, n := range all {
		for _, h := range hay {
			if bytes.Contains(h, n.bytes) {
				found = append(found, n)
				break
			}
		}
	}
	return found
}
