package identity

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"golang.org/x/text/unicode/norm"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

var (
	// ErrKeystore is returned for a file that is not a keystore of version 3, or
	// one whose cost exceeds a limit.
	ErrKeystore = errors.New("identity: malformed keystore file")
	// ErrPassphrase is returned when the passphrase does not open the keystore.
	ErrPassphrase = errors.New("identity: wrong passphrase for the keystore")
)

// KeystoreCost is the cost of a passphrase guess in a new keystore file.
type KeystoreCost int

// The costs that geth offers, and one that only tests should use.
const (
	StandardCost KeystoreCost = 0 // scrypt n=2^18 p=1: 256 MiB, about a second
	LightCost    KeystoreCost = 1 // scrypt n=2^12 p=6: 4 MiB, about 100 ms
	testCost     KeystoreCost = 2
)

// scrypt returns the parameters n and p; r is 8.
func (c KeystoreCost) scrypt() (n, p int) {
	switch c {
	case LightCost:
		return keystore.LightScryptN, keystore.LightScryptP
	case testCost:
		return 2, 1
	}
	return keystore.StandardScryptN, keystore.StandardScryptP
}

// keystoreFile is Web3 Secret Storage, version 3. Names are matched whatever
// their case, because ethers writes "Crypto"; members we do not know, such as its
// "x-ethers" with an encrypted mnemonic, are passed over.
type keystoreFile struct {
	Address string         `json:"address"`
	Crypto  keystoreCrypto `json:"crypto"`
	Version int            `json:"version"`
}

type keystoreCrypto struct {
	Cipher       string         `json:"cipher"`
	CipherText   string         `json:"ciphertext"`
	CipherParams keystoreIV     `json:"cipherparams"`
	KDF          string         `json:"kdf"`
	KDFParams    keystoreParams `json:"kdfparams"`
	MAC          string         `json:"mac"`
}

type keystoreIV struct {
	IV string `json:"iv"`
}

type keystoreParams struct {
	DKLen uint64 `json:"dklen"`
	Salt  string `json:"salt"`
	N     uint64 `json:"n"` // scrypt
	R     uint64 `json:"r"`
	P     uint64 `json:"p"`
	C     uint64 `json:"c"` // PBKDF2
	PRF   string `json:"prf"`
}

// OpenKeystore decrypts a keystore file of version 3 (Web3 Secret Storage), made
// by geth, clef, ethers or another wallet, with scrypt or PBKDF2. It returns
// [ErrKeystore] or [ErrPassphrase].
//
// The passphrase is tried as it is, as geth does, and then in Unicode form NFKC,
// as ethers does.
func OpenKeystore(file []byte, passphrase string) (*KeyWallet, error) {
	f, err := parseKeystore(file)
	if err != nil {
		return nil, err
	}
	crypto := f.Crypto.geth()
	// DecryptKey of the same package would multiply the scalar in variable time
	// to learn its address, and panics on missing parameters.
	plain, err := keystore.DecryptDataV3(crypto, passphrase)
	if nfkc := norm.NFKC.String(passphrase); errors.Is(err, keystore.ErrDecrypt) && nfkc != passphrase {
		plain, err = keystore.DecryptDataV3(crypto, nfkc)
	}
	switch {
	case errors.Is(err, keystore.ErrDecrypt):
		return nil, ErrPassphrase
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	scalar := secret.New(plain)
	defer scalar.Erase()
	key, err := secp.NewPrivateKey(scalar.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%w: it holds no valid key", ErrKeystore)
	}
	w := newKeyWallet(key)
	if f.Address != "" && f.Address != hex.EncodeToString(w.addr[:]) {
		return nil, fmt.Errorf("%w: its key is of another address than it says", ErrKeystore)
	}
	return w, nil
}

// parseKeystore reads the file and checks everything that does not need the
// passphrase. Address is left as 40 lower-case hex digits, or empty.
func parseKeystore(file []byte) (*keystoreFile, error) {
	bad := func(what string) (*keystoreFile, error) { return nil, fmt.Errorf("%w: %s", ErrKeystore, what) }
	if len(file) > MaxKeystoreSize {
		return bad("too long")
	}
	f := new(keystoreFile)
	if err := json.Unmarshal(file, f); err != nil {
		return bad("not the JSON of a keystore") // err may quote the file
	}
	if f.Version != 3 {
		return bad("not of version 3")
	}
	f.Address = strings.TrimPrefix(strings.ToLower(f.Address), "0x")
	if f.Address != "" && !isHex(f.Address, AddressSize) {
		return bad("bad address")
	}
	c := &f.Crypto
	switch {
	case c.Cipher != "aes-128-ctr":
		return bad("unknown cipher")
	case !isHex(c.CipherText, secp.PrivateKeySize) || !isHex(c.CipherParams.IV, 16) || !isHex(c.MAC, 32):
		return bad("bad ciphertext, iv or mac")
	}
	if err := c.checkKDF(); err != nil {
		return nil, err
	}
	return f, nil
}

// checkKDF bounds the cost of the key derivation: it runs before anything in the
// file is authenticated.
func (c *keystoreCrypto) checkKDF() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrKeystore, what) }
	p := &c.KDFParams
	if _, err := hex.DecodeString(p.Salt); err != nil {
		return bad("bad salt")
	}
	if p.DKLen < 32 || p.DKLen > 64 {
		return bad("bad length of the derived key")
	}
	switch c.KDF {
	case "scrypt":
		const limit = MaxKeystoreWork / 128
		if p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 {
			return bad("bad scrypt parameters")
		}
		// Each factor is bounded first, so that the product cannot wrap.
		if p.N > limit || p.R > limit || p.P > limit || 128*p.N*p.R > MaxKeystoreMemory || p.N*p.R*p.P > limit {
			return bad("scrypt parameters exceed the limit")
		}
	case "pbkdf2":
		if p.PRF != "hmac-sha256" || p.C < 1 {
			return bad("bad PBKDF2 parameters")
		}
		if p.C > MaxKeystoreWork/128 {
			return bad("PBKDF2 iterations exceed the limit")
		}
	default:
		return bad("unknown key derivation")
	}
	return nil
}

// geth returns the checked section in the type that go-ethereum decrypts.
func (c *keystoreCrypto) geth() keystore.CryptoJSON {
	p := &c.KDFParams
	out := keystore.CryptoJSON{
		Cipher:     c.Cipher,
		CipherText: c.CipherText,
		KDF:        c.KDF,
		KDFParams:  map[string]any{"dklen": int(p.DKLen), "salt": p.Salt},
		MAC:        c.MAC,
	}
	out.CipherParams.IV = c.CipherParams.IV
	if c.KDF == "scrypt" {
		out.KDFParams["n"], out.KDFParams["r"], out.KDFParams["p"] = int(p.N), int(p.R), int(p.P)
	} else {
		out.KDFParams["c"], out.KDFParams["prf"] = int(p.C), p.PRF
	}
	return out
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size
}

// Keystore returns the wallet's key as a keystore file of version 3, as geth
// writes it.
func (w *KeyWallet) Keystore(passphrase string, cost KeystoreCost) ([]byte, error) {
	scalar := w.key.Bytes()
	defer scalar.Erase()
	n, p := cost.scrypt()
	crypto, err := keystore.EncryptDataV3(scalar.Bytes(), []byte(passphrase), n, p)
	if err != nil {
		return nil, fmt.Errorf("identity: encrypting the keystore: %w", err)
	}
	return json.Marshal(struct {
		Address string              `json:"address"`
		Crypto  keystore.CryptoJSON `json:"crypto"`
		ID      string              `json:"id"`
		Version int                 `json:"version"`
	}{hex.EncodeToString(w.addr[:]), crypto, newUUID(), 3})
}

// newUUID returns a random UUID (RFC 9562, Section 5.4).
func newUUID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// KeystoreAddress returns the address that a keystore file names, without its
// passphrase and so without proof. It returns [ErrKeystore] for a malformed file
// and for one that names none.
func KeystoreAddress(file []byte) (Address, error) {
	f, err := parseKeystore(file)
	if err != nil {
		return Address{}, err
	}
	a, err := ParseAddress("0x" + f.Address)
	if err != nil {
		return Address{}, fmt.Errorf("%w: it names no address", ErrKeystore)
	}
	return a, nil
}
