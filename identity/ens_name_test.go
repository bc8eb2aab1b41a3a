package identity

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adraffy/go-ens-normalize/ensip15"
)

func TestNormalizeName(t *testing.T) {
	for in, want := range map[string]string{
		"alice.eth":                       "alice.eth",
		"ALICE.eth":                       "alice.eth",
		"a_b.eth":                         "",
		"_a.eth":                          "_a.eth",
		"xn--a.eth":                       "",
		"0xabc.eth":                       "0xabc.eth",
		"raffy🚴‍♂️.eth":                   "raffy🚴‍♂.eth",
		"fünf.eth":                        "fünf.eth",
		strings.Repeat("a", 251) + ".eth": strings.Repeat("a", 251) + ".eth",
	} {
		got, err := NormalizeName(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, ErrNameInvalid) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for in, want := range map[string]NameFault{
		"bob":                               NameNoDot,
		"":                                  NameNoDot,
		strings.Repeat("a", 252) + ".eth":   NameTooLong,
		strings.Repeat("a", MaxNameInput+1): NameTooLong,
		strings.Repeat("a.", MaxNameLabels) + "eth": NameTooLong,
		"a..eth":    NameEmptyLabel,
		".eth":      NameEmptyLabel,
		"eth.":      NameEmptyLabel,
		"a b.eth":   NameDisallowed,
		"a\x00.eth": NameDisallowed,
		"a。eth":     NameDisallowed,
		"bоb.eth":   NameMixture,    // Cyrillic o in Latin
		"аррӏе.eth": NameConfusable, // all Cyrillic, reads "apple"
		"a\xff.eth": NameMalformed,
		"ab--c.eth": NameMalformed,
	} {
		got, err := NormalizeName(in)
		var nameErr *NameError
		if got != "" || !errors.As(err, &nameErr) || nameErr.Fault != want {
			t.Errorf("%+q is %q, %v; want the fault %q", in, got, err, want)
			continue
		}
		if !errors.Is(err, ErrNameInvalid) || len(nameErr.Name) > MaxNameInput {
			t.Errorf("%+q: %v", in, err)
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("error %q is not plain ASCII", err)
		}
	}
	// The rule that is broken can be asked for.
	if _, err := NormalizeName("аррӏе.eth"); !errors.Is(err, ensip15.ErrWholeConfusable) {
		t.Errorf("confusable: %v", err)
	}
}

func TestParsePeer(t *testing.T) {
	const addr = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" // from EIP-55
	a, err := ParseAddress(addr)
	must(t, err)
	for in, want := range map[string]Peer{
		"Alice.eth":                    {Name: "alice.eth"},
		addr:                           {Account: KeyAccount(a)},
		strings.ToLower(addr):          {Account: KeyAccount(a)},
		"eip155:1:" + addr:             {Account: Account{Address: a, ChainID: 1}},
		strings.ToLower(addr) + ".eth": {Name: strings.ToLower(addr) + ".eth"},
	} {
		got, err := ParsePeer(in)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v", in, got, err)
			continue
		}
		if again, err := ParsePeer(got.String()); err != nil || again != got {
			t.Errorf("%q does not survive String: %v, %v", in, again, err)
		}
	}
	for in, want := range map[string]error{
		"":                                 ErrNameInvalid,
		"bob":                              ErrNameInvalid,
		addr[2:]:                           ErrNameInvalid,
		" " + addr:                         ErrNameInvalid,
		"a b.eth":                          ErrNameInvalid,
		"0x":                               ErrAddress,
		"0X" + addr[2:]:                    ErrAddress,
		addr + "0":                         ErrAddress,
		strings.Replace(addr, "A", "a", 1): ErrAddressChecksum,
		"eip155:0:" + addr:                 ErrAccount,
	} {
		got, err := ParsePeer(in)
		if !errors.Is(err, want) || got != (Peer{}) {
			t.Errorf("%q is %v, %v; want %v", in, got, err, want)
		}
	}
}

// From EIP-137.
func TestNameHash(t *testing.T) {
	for name, want := range map[string]string{
		"":        "0000000000000000000000000000000000000000000000000000000000000000",
		"eth":     "93cdeb708b7545dc668eb9280176169d1c33cfd8ed6f04690a0bcc88a93fc4ae",
		"foo.eth": "de9b09fd7c5f901e23a3f19fecc54828e9c848539801e86591bd9801b019f84f",
	} {
		if got := nameHash(name); hex.EncodeToString(got[:]) != want {
			t.Errorf("%q hashes to %x", name, got)
		}
	}
}

func TestDNSEncode(t *testing.T) {
	if got := dnsEncode("bob.eth"); string(got) != "\x03bob\x03eth\x00" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("a", 251) + ".eth"
	if got, err := dnsDecode(dnsEncode(long)); err != nil || got != long {
		t.Errorf("the longest label: %q, %v", got, err)
	}
	b := dnsEncode("alice.example.eth")
	for i := range b {
		if name, err := dnsDecode(b[:i]); err == nil {
			t.Errorf("prefix of %d bytes is %q", i, name)
		}
	}
	for _, bad := range []string{"\x00", "\x03bob\x00\x00", "\x04bob\x00", "\x03b.b\x00", strings.Repeat("\x01a", 200) + "\x00"} {
		if name, err := dnsDecode([]byte(bad)); err == nil {
			t.Errorf("%q is %q", bad, name)
		}
	}
}

// The vectors of ENSIP-15 that come with the module.
func TestENSIP15Vectors(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/adraffy/go-ens-normalize").Output()
	if err != nil {
		t.Skip("the vectors are in the module cache, and there is no go command to find it:", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "ensip15", "tests.json"))
	if err != nil {
		t.Skip("the vectors are not in the module cache:", err)
	}
	var vectors []struct {
		Name  string
		Norm  *string
		Error bool
	}
	must(t, json.Unmarshal(b, &vectors))
	checked, ours := 0, 0
	faults := make(map[NameFault]int)
	for _, v := range vectors[1:] { // the first one is the version
		want := v.Name
		if v.Norm != nil {
			want = *v.Norm
		}
		got, err := NormalizeName(v.Name)
		checked++
		var nameErr *NameError
		switch {
		case v.Error:
			if !errors.As(err, &nameErr) {
				t.Errorf("%+q is %q, %v; want an error", v.Name, got, err)
				continue
			}
			faults[nameErr.Fault]++
			if nameErr.Err == nil && nameErr.Fault == NameMalformed {
				t.Errorf("%+q breaks no rule that has a name", v.Name)
			}
		case errors.As(err, &nameErr) && (nameErr.Fault == NameNoDot || nameErr.Fault == NameTooLong):
			// Our own rules begin where normalisation ends.
			ours++
			if norm, err := ensip15.Shared().Normalize(v.Name); err != nil || norm != want {
				t.Errorf("%+q is %q, %v; want %q", v.Name, norm, err, want)
			}
			if strings.Contains(want, ".") && nameErr.Fault == NameNoDot {
				t.Errorf("%+q has a dot", v.Name)
			}
		case err != nil || got != want:
			t.Errorf("%+q is %q, %v; want %q", v.Name, got, err, want)
		}
	}
	t.Logf("%d vectors, %d of them without a dot or too long; faults %v", checked, ours, faults)
	if checked < 1000 {
		t.Errorf("only %d vectors", checked)
	}
}

func FuzzNormalizeName(f *testing.F) {
	for _, s := range []string{"alice.eth", "bоb.eth", "raffy🚴‍♂️.eth", "a\u0301.eth", "", ".", "ﬀ.eth"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := NormalizeName(s)
		if err != nil {
			if !errors.Is(err, ErrNameInvalid) || name != "" {
				t.Fatalf("%q, %v", name, err)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("error %q is not plain ASCII", err)
			}
			return
		}
		if again, err := NormalizeName(name); err != nil || again != name {
			t.Fatalf("%+q normalises to %+q, and that to %+q, %v", s, name, again, err)
		}
		if back, err := dnsDecode(dnsEncode(name)); err != nil || back != name {
			t.Fatalf("%+q has the wire form of %+q, %v", name, back, err)
		}
		if p, err := ParsePeer(name); err != nil || p.Name != name {
			t.Fatalf("%+q is the peer %v, %v", name, p, err)
		}
	})
}

func FuzzDNSName(f *testing.F) {
	f.Add([]byte("\x03bob\x03eth\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := dnsDecode(b)
		if err == nil && !bytes.Equal(dnsEncode(name), b) {
			t.Fatalf("%q encodes to %x, not %x", name, dnsEncode(name), b)
		}
	})
}
