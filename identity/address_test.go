package identity

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The examples of EIP-55.
var checksummed = []string{
	"0x52908400098527886E0F7030069857D2E4169EE7",
	"0x8617E340B3D01FA5F11F306F4090FD50E238070D",
	"0xde709f2102306220921060314715629080e2fb77",
	"0x27b1fdb04752bbc536007a920d24acb045561c26",
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
	"0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
	"0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
}

func TestParseAddress(t *testing.T) {
	for _, s := range checksummed {
		for _, in := range []string{s, strings.ToLower(s), "0x" + strings.ToUpper(s[2:])} {
			a, err := ParseAddress(in)
			noError(t, err)
			if a.String() != s {
				t.Errorf("%s: prints as %s", in, a)
			}
		}
	}
}

func TestParseAddressRejects(t *testing.T) {
	good := "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
	for in, want := range map[string]error{
		"":                             ErrAddress,
		"bob":                          ErrAddress,
		"bob.eth":                      ErrAddress,
		"0x":                           ErrAddress,
		good[2:]:                       ErrAddress,
		"0X" + good[2:]:                ErrAddress,
		good[:41]:                      ErrAddress,
		good + "0":                     ErrAddress,
		" " + good:                     ErrAddress,
		good + "\n":                    ErrAddress,
		good[:41] + "g":                ErrAddress,
		"XE" + good[2:]:                ErrAddress,
		"0x" + strings.Repeat("é", 20): ErrAddress,
		"0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed": ErrAddressChecksum,
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed": ErrAddressChecksum,
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD": ErrAddressChecksum,
	} {
		a, err := ParseAddress(in)
		if wantError(t, err, want); !a.IsZero() {
			t.Errorf("%q: an address comes with the error", in)
		}
	}
}

// Changing the case of any one letter of a checksummed address is noticed.
func TestAddressChecksumCatchesEveryLetter(t *testing.T) {
	s := checksummed[4]
	for i := 2; i < len(s); i++ {
		if s[i] >= 'A' {
			_, err := ParseAddress(s[:i] + string(s[i]^0x20) + s[i+1:])
			wantError(t, err, ErrAddressChecksum)
		}
	}
}

func TestAddressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Address(rapid.SliceOfN(rapid.Byte(), AddressSize, AddressSize).Draw(t, "address"))
		chain := rapid.Uint64().Draw(t, "chain")
		back, err := ParseAddress(a.String())
		noError(t, err)
		acct := Account{a, chain}
		parsed, err := ParseAccount(acct.String())
		noError(t, err)
		decoded, err := AccountFromBytes(acct.Bytes())
		noError(t, err)
		if back != a || parsed != acct || decoded != acct || len(acct.Bytes()) != AccountSize {
			t.Fatalf("%s is not what it was", acct)
		}
		js, err := json.Marshal(acct)
		noError(t, err)
		var fromJSON Account
		noError(t, json.Unmarshal(js, &fromJSON))
		js, err = json.Marshal(a)
		noError(t, err)
		var addressFromJSON Address
		noError(t, json.Unmarshal(js, &addressFromJSON))
		if fromJSON != acct || addressFromJSON != a {
			t.Fatalf("%s changes in JSON", acct)
		}
	})
}

func TestAddressesInJSONReject(t *testing.T) {
	a, acct := Address{1}, Account{Address{1}, 2}
	wantError(t, json.Unmarshal([]byte(`"bob"`), &a), ErrAddress)
	wantError(t, json.Unmarshal([]byte(`"eip155:0:x"`), &acct), ErrAccount)
	if a != (Address{1}) || acct != (Account{Address{1}, 2}) {
		t.Error("an error changed the value")
	}
}

func TestAddressOfKey(t *testing.T) {
	w := testWallet(t)
	if got := w.Address().String(); got != "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23" {
		t.Errorf("got %s", got)
	}
}

func TestParseAccountRejects(t *testing.T) {
	a := checksummed[4]
	for in, want := range map[string]error{
		"":                                 ErrAddress,
		"eip155:":                          ErrAccount,
		"eip155:1":                         ErrAccount,
		"eip155::" + a:                     ErrAccount,
		"eip155:0:" + a:                    ErrAccount,
		"eip155:01:" + a:                   ErrAccount,
		"eip155:+1:" + a:                   ErrAccount,
		"eip155:-1:" + a:                   ErrAccount,
		"eip155:0x1:" + a:                  ErrAccount,
		"eip155:1e3:" + a:                  ErrAccount,
		"eip155:18446744073709551616:" + a: ErrAccount,
		"eip155:1:bob":                     ErrAddress,
		"eip155:1:" + a + ":":              ErrAddress,
		"EIP155:1:" + a:                    ErrAddress,
		"eip155:1:0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed": ErrAddressChecksum,
	} {
		_, err := ParseAccount(in)
		wantError(t, err, want)
	}
}

func TestAccountBytes(t *testing.T) {
	acct, err := ParseAccount("eip155:258:" + checksummed[2])
	noError(t, err)
	b := acct.Bytes()
	prefixesFail(t, b, ErrAccount, func(b []byte) error { _, err := AccountFromBytes(b); return err })
	if b[0] != 0xde || b[19] != 0x77 || b[50] != 1 || b[51] != 2 {
		t.Errorf("wrong layout: %x", b)
	}
	b[43] = 1 // beyond 64 bits
	_, err = AccountFromBytes(b)
	wantError(t, err, ErrAccount)
}

func TestLookupKeyTellsAccountsApart(t *testing.T) {
	a, err := ParseAddress(checksummed[0])
	noError(t, err)
	if KeyAccount(a).LookupKey() == (Account{a, 1}).LookupKey() {
		t.Error("two accounts have one lookup key")
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range checksummed {
		f.Add(s)
		f.Add(strings.ToLower(s))
	}
	f.Add("bob.eth")
	f.Fuzz(func(t *testing.T, in string) {
		if a, err := ParseAddress(in); err == nil && !strings.EqualFold(a.String(), in) {
			t.Fatalf("%q is read as %s", in, a)
		}
	})
}

func FuzzParseAccount(f *testing.F) {
	f.Add(checksummed[4])
	f.Add("eip155:1:" + checksummed[4])
	f.Fuzz(func(t *testing.T, in string) {
		if a, err := ParseAccount(in); err == nil && !strings.EqualFold(a.String(), in) {
			t.Fatalf("%q is read as %s", in, a)
		}
	})
}

func FuzzAccountFromBytes(f *testing.F) {
	f.Add(Account{Address{1}, 5}.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if a, err := AccountFromBytes(in); err == nil && string(a.Bytes()) != string(in) {
			t.Fatalf("%x re-encodes differently", in)
		}
	})
}
