package identity

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files that other programs made; testdata/README.md says how.
func TestOpenKeystoreOfOthers(t *testing.T) {
	const tutorial = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
	for _, c := range []struct{ file, passphrase, address string }{
		{"geth.json", "correct horse", tutorial},
		{"geth-light.json", "correct horse", tutorial},
		{"ethers.json", "correct horse", tutorial},
		{"ethers-mnemonic.json", "correct horse", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"},
		{"web3js-scrypt.json", "correct horse", tutorial},
		{"web3js-pbkdf2.json", "correct horse", tutorial},
		// ethers normalises: the ligature, and é as two code points.
		{"ethers-unicode.json", "\ufb01ance\u0301 \u212b", tutorial},
		{"ethers-unicode.json", "fianc\u00e9 \u00c5", tutorial},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			w, err := OpenKeystore(readTestdata(t, c.file), c.passphrase)
			noError(t, err)
			if w.Address().String() != c.address {
				t.Errorf("opens to %s, want %s", w.Address(), c.address)
			}
		})
	}
}

func TestOpenKeystoreWrongPassphrase(t *testing.T) {
	for _, file := range []string{"ethers-unicode.json", "geth-light.json", "web3js-scrypt.json"} {
		for _, p := range []string{"", "wrong", "correct horse ", "ﬁ"} {
			w, err := OpenKeystore(readTestdata(t, file), p)
			if wantError(t, err, ErrPassphrase); w != nil {
				t.Error("a wallet comes with the error")
			}
		}
	}
}

func TestKeystoreRoundTrip(t *testing.T) {
	w, err := GenerateWallet()
	noError(t, err)
	for _, pass := range []string{"", "pass phrase", "ﬁancé"} {
		file, err := w.Keystore(pass, testCost)
		noError(t, err)
		back, err := OpenKeystore(file, pass)
		noError(t, err)
		named, err := KeystoreAddress(file)
		noError(t, err)
		if back.Address() != w.Address() || named != w.Address() || !back.key.Bytes().Equal(w.key.Bytes()) {
			t.Error("another key comes out")
		}
		_, err = OpenKeystore(file, pass+"x")
		wantError(t, err, ErrPassphrase)
	}
	if n, p := KeystoreCost(0).scrypt(); n != 1<<18 || p != 1 {
		t.Errorf("the cost that is not chosen is n=%d p=%d", n, p)
	}
}

// Each edit makes a good file bad. Most of them make other programs panic, ask
// for memory without end, or decrypt to nonsense.
func TestOpenKeystoreRejects(t *testing.T) {
	w := testWallet(t)
	file, err := w.Keystore("x", testCost)
	noError(t, err)
	pbkdf2 := readTestdata(t, "web3js-pbkdf2.json")

	type m = map[string]any
	crypto := func(f m) m { return f["crypto"].(m) }
	params := func(f m) m { return crypto(f)["kdfparams"].(m) }
	for name, edit := range map[string]func(m){
		"no version":         func(f m) { delete(f, "version") },
		"version 1":          func(f m) { f["version"] = "1" },
		"version 4":          func(f m) { f["version"] = 4 },
		"no crypto":          func(f m) { delete(f, "crypto") },
		"crypto is a string": func(f m) { f["crypto"] = "aes" },
		"bad address":        func(f m) { f["address"] = "2c75" },
		"another address":    func(f m) { f["address"] = strings.Repeat("00", 20) },
		"cipher":             func(f m) { crypto(f)["cipher"] = "aes-128-cbc" },
		"no iv":              func(f m) { delete(crypto(f), "cipherparams") },
		"short iv":           func(f m) { crypto(f)["cipherparams"] = m{"iv": "00"} },
		"no mac":             func(f m) { delete(crypto(f), "mac") },
		"short ciphertext":   func(f m) { crypto(f)["ciphertext"] = "00" },
		"long ciphertext":    func(f m) { crypto(f)["ciphertext"] = strings.Repeat("00", 33) },
		"kdf":                func(f m) { crypto(f)["kdf"] = "argon2" },
		"no kdfparams":       func(f m) { delete(crypto(f), "kdfparams") },
		"salt not a string":  func(f m) { params(f)["salt"] = 7 },
		"salt not hex":       func(f m) { params(f)["salt"] = "zz" },
		"no dklen":           func(f m) { delete(params(f), "dklen") },
		"short dklen":        func(f m) { params(f)["dklen"] = 16 },
		"huge dklen":         func(f m) { params(f)["dklen"] = 1 << 40 },
		"dklen not a number": func(f m) { params(f)["dklen"] = "32" },
		"no n":               func(f m) { delete(params(f), "n") },
		"n not a power of 2": func(f m) { params(f)["n"] = 3000 },
		"n is 1":             func(f m) { params(f)["n"] = 1 },
		"n negative":         func(f m) { params(f)["n"] = -2 },
		"n a fraction":       func(f m) { params(f)["n"] = 2.5 },
		"n huge":             func(f m) { params(f)["n"] = 1 << 24 },
		"n for 2 GiB":        func(f m) { params(f)["n"] = 1 << 21 },
		"n overflows":        func(f m) { params(f)["n"] = uint64(1) << 62; params(f)["r"] = 4 },
		"r zero":             func(f m) { params(f)["r"] = 0 },
		"r huge":             func(f m) { params(f)["r"] = 1 << 25 },
		"p huge":             func(f m) { params(f)["p"] = 1 << 25 },
		"p zero":             func(f m) { params(f)["p"] = 0 },
	} {
		f := m{}
		noError(t, json.Unmarshal(file, &f))
		edit(f)
		bad, err := json.Marshal(f)
		noError(t, err)
		if _, err := OpenKeystore(bad, "x"); err == nil {
			t.Errorf("%s: opened", name)
		} else {
			wantError(t, err, ErrKeystore)
		}
	}
	for name, edit := range map[string]func(m){
		"no c":   func(f m) { delete(params(f), "c") },
		"c huge": func(f m) { params(f)["c"] = 1 << 40 },
		"no prf": func(f m) { delete(params(f), "prf") },
		"prf":    func(f m) { params(f)["prf"] = "hmac-sha1" },
	} {
		f := m{}
		noError(t, json.Unmarshal(pbkdf2, &f))
		edit(f)
		bad, err := json.Marshal(f)
		noError(t, err)
		if _, err := OpenKeystore(bad, "x"); err == nil {
			t.Errorf("%s: opened", name)
		} else {
			wantError(t, err, ErrKeystore)
		}
	}
	for _, bad := range []string{"", "{}", "null", "[]", "not json", string(file[:len(file)-1]), strings.Repeat(" ", MaxKeystoreSize+1)} {
		_, err := OpenKeystore([]byte(bad), "x")
		wantError(t, err, ErrKeystore)
		_, err = KeystoreAddress([]byte(bad))
		wantError(t, err, ErrKeystore)
	}
	// A file may name no address; it opens all the same.
	anonymous := strings.Replace(string(file), "2c7536e3605d9c16a7a3d7b1898e529396a65c23", "", 1)
	_, err = KeystoreAddress([]byte(anonymous))
	wantError(t, err, ErrKeystore)
	_, err = OpenKeystore([]byte(anonymous), "x")
	noError(t, err)
}

func FuzzOpenKeystore(f *testing.F) {
	file, err := testWallet(f).Keystore("x", testCost)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := parseKeystore(in)
		if err != nil {
			wantError(t, err, ErrKeystore)
			return
		}
		// What parses must not panic further down. Files that are costly within
		// the limits would only slow the fuzzer.
		p := &k.Crypto.KDFParams
		if p.N*p.R*p.P < 1<<12 && p.C < 1<<12 {
			_, _ = OpenKeystore(in, "x")
		}
	})
}

func readTestdata(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	noError(t, err)
	return b
}
