package identity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/adraffy/go-ens-normalize/ensip15"
	"github.com/ethereum/go-ethereum/crypto"
)

const (
	// MaxNameInput is the longest string that is tried as a name, in bytes of
	// UTF-8. Normalisation can make it shorter.
	MaxNameInput = 1024
	// MaxName is the longest normalised name in bytes, as in DNS. It follows that
	// the length of every label fits the byte it has in the wire form.
	MaxName = 255
	// MaxNameLabels is the largest number of labels of a name: each may cost a
	// question to the registry.
	MaxNameLabels = 16
)

// NameFault is why a string is not a name.
type NameFault string

// The faults of names.
const (
	// NameNoDot: a name has at least two labels, so "bob" is none.
	NameNoDot NameFault = "it has no dot"
	// NameTooLong: a limit of this package is exceeded.
	NameTooLong NameFault = "it is too long"
	// NameEmptyLabel: two dots in a row, or one at either end.
	NameEmptyLabel NameFault = "it has an empty label"
	// NameDisallowed: a character that ENSIP-15 allows nowhere.
	NameDisallowed NameFault = "it has a character that is not allowed"
	// NameMixture: one label mixes scripts.
	NameMixture NameFault = "it mixes scripts"
	// NameConfusable: all of a label could be mistaken for another script.
	NameConfusable NameFault = "it looks like a name in another script"
	// NameMalformed: another rule of ENSIP-15 is broken.
	NameMalformed NameFault = "it is malformed"
)

// NameError says why a string is not a name. It is [ErrNameInvalid].
type NameError struct {
	// Name is what was given, at most [MaxNameInput] bytes of it. It may hold
	// characters that confuse a terminal: print it with %+q.
	Name  string
	Fault NameFault
	// Err is the rule of ENSIP-15 that is broken, or nil.
	Err error
}

func (e *NameError) Error() string {
	name := strconv.QuoteToASCII(e.Name[:min(len(e.Name), 64)])
	if len(e.Name) > 64 {
		name += "..."
	}
	s := "identity: " + name + " is not a valid name: " + string(e.Fault)
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap returns ErrNameInvalid and the rule that is broken, if one is known.
func (e *NameError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrNameInvalid}
	}
	return []error{ErrNameInvalid, e.Err}
}

// NormalizeName returns the form of a name by ENSIP-15 that is hashed, compared,
// stored and shown, or a *[NameError]. A name has at least two labels.
func NormalizeName(name string) (string, error) {
	fail := func(f NameFault, err error) (string, error) {
		return "", &NameError{Name: name[:min(len(name), MaxNameInput)], Fault: f, Err: err}
	}
	if len(name) > MaxNameInput {
		return fail(NameTooLong, nil)
	}
	if !utf8.ValidString(name) {
		return fail(NameMalformed, errors.New("not UTF-8"))
	}
	// The package-level function of ensip15 panics where this one fails.
	norm, err := ensip15.Shared().Normalize(name)
	if err != nil {
		return fail(nameFault(err))
	}
	switch labels := strings.Count(norm, ".") + 1; {
	case len(norm) > MaxName || labels > MaxNameLabels:
		return fail(NameTooLong, nil)
	case labels < 2:
		return fail(NameNoDot, nil)
	}
	return norm, nil
}

// nameRules are the errors of ensip15 and the faults they are to us.
var nameRules = []struct {
	rule  error
	fault NameFault
}{
	{ensip15.ErrWholeConfusable, NameConfusable},
	{ensip15.ErrIllegalMixture, NameMixture},
	{ensip15.ErrDisallowedCharacter, NameDisallowed},
	{ensip15.ErrEmptyLabel, NameEmptyLabel},
	{ensip15.ErrInvalidLabelExtension, NameMalformed},
	{ensip15.ErrLeadingUnderscore, NameMalformed},
	{ensip15.ErrFencedLeading, NameMalformed},
	{ensip15.ErrFencedAdjacent, NameMalformed},
	{ensip15.ErrFencedTrailing, NameMalformed},
	{ensip15.ErrCMLeading, NameMalformed},
	{ensip15.ErrCMAfterEmoji, NameMalformed},
	{ensip15.ErrNSMDuplicate, NameMalformed},
	{ensip15.ErrNSMExcessive, NameMalformed},
}

// nameFault sorts an error of ensip15, whose text is: invalid label "…": rule:
// detail. Not every rule is wrapped there, and some are only in the text. The
// returned error wraps the rule; its text has the detail in ASCII, and neither
// the label nor the left-to-right marks that ensip15 adds.
func nameFault(err error) (NameFault, error) {
	text := err.Error()
	if i := strings.LastIndex(text, `": `); i >= 0 {
		text = text[i+len(`": `):]
	}
	for _, r := range nameRules {
		if detail, ok := strings.CutPrefix(text, r.rule.Error()); ok {
			ascii := strconv.QuoteToASCII(strings.ReplaceAll(detail, "\u200e", ""))
			return r.fault, fmt.Errorf("%w%s", r.rule, strings.ReplaceAll(ascii[1:len(ascii)-1], `\"`, `"`))
		}
	}
	return NameMalformed, nil
}

// Peer is whom a person means: an account, or a name that has yet to be
// resolved.
type Peer struct {
	// Name is normalised, or empty when an account was given.
	Name    string
	Account Account
}

// ParsePeer reads what a person types for a peer. What has a dot is a name; what
// begins with "0x" or "eip155:" is an account; anything else, "bob" or 40 bare
// hex digits, is neither. It returns a *[NameError] or an error of
// [ParseAccount].
func ParsePeer(s string) (Peer, error) {
	if !strings.Contains(s, ".") {
		if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") || strings.HasPrefix(s, "eip155:") {
			a, err := ParseAccount(s)
			return Peer{Account: a}, err
		}
	}
	name, err := NormalizeName(s)
	return Peer{Name: name}, err
}

// String returns the name, or the account as [Account.String] has it.
func (p Peer) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Account.String()
}

// nameHash is the namehash of EIP-137 of a normalised name. The one of go-ens
// would normalise again, by UTS 46, and change names that ENSIP-15 allows.
func nameHash(name string) (node [32]byte) {
	if name == "" {
		return node
	}
	labels := strings.Split(name, ".")
	for i := len(labels) - 1; i >= 0; i-- {
		node = crypto.Keccak256Hash(node[:], crypto.Keccak256([]byte(labels[i])))
	}
	return node
}

// dnsEncode is the wire form of a normalised name (ENSIP-10): each label after
// its length in one byte, and a zero byte. The label lengths fit because of
// MaxName.
func dnsEncode(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(b, byte(len(label)))
		b = append(b, label...)
	}
	return append(b, 0)
}

// errDNSName is returned for bytes that are no name in DNS wire form.
var errDNSName = errors.New("identity: malformed DNS name")

// dnsDecode is the inverse of dnsEncode, for names of at most MaxName bytes. It
// takes labels as they are: they need not be normalised.
func dnsDecode(b []byte) (string, error) {
	var labels []string
	for {
		if len(b) == 0 {
			return "", fmt.Errorf("%w: no end", errDNSName)
		}
		n := int(b[0])
		b = b[1:]
		if n == 0 {
			break
		}
		if n > len(b) || strings.IndexByte(string(b[:n]), '.') >= 0 {
			return "", fmt.Errorf("%w: bad label", errDNSName)
		}
		labels = append(labels, string(b[:n]))
		b = b[n:]
	}
	name := strings.Join(labels, ".")
	if len(b) != 0 || len(labels) == 0 || len(name) > MaxName {
		return "", errDNSName
	}
	return name, nil
}
