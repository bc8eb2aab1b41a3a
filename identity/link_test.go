package identity

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/parley-im/parley/internal/secp"
)

// Made with ethers 6.17 (TypedDataEncoder.hash, signTypedData, signMessage) from
// the account of testWallet, for the link of knownLink and a revocation after it.
const (
	ethersAuthorizeDigest = "1cc64d998faad364048a2224f9dae855dbf25e9083160c5cb6ee3a1809b9a524"
	ethersRevokeDigest    = "2390b936723dc694fd869ea80c18140c7de40f10abb995159e7a649acf5c5ee7"
	ethersTypedSignature  = "058779c6fc1e51ed9afc2cfa8b0cb60a7d929ab74e8ebaec78ae151a0e8d3dae1abc4e4815205d22da35e3f4571af67035b430fc37929d2841d8f520520740b11c"
	ethersTextSignature   = "887eaea1d65d79cc449da42531c89b3e1ce367ffd14f135e22470238f6b23aa123de5712ec3a5c2a72dbdf23fa4fcb55526b82924351c2e47c35f5cedb3f5d691c"
)

// knownLink authorises the keys 1 and 2.
func knownLink() *Link {
	k := &Link{Type: LinkAuthorize, DeviceName: "laptop", NotBefore: 1700000000, NotAfter: 1800000000, Scheme: SchemeTypedData}
	for i, dst := range [][]byte{k.SigningKey[:], k.DHKey[:]} {
		p, err := secp.NewPrivateKey(append(make([]byte, 31), byte(i+1)))
		if err != nil {
			panic(err)
		}
		copy(dst, p.PublicKey().Bytes())
	}
	return k
}

func TestDigestsLikeEthers(t *testing.T) {
	account := KeyAccount(testWallet(t).Address())
	auth := knownLink()
	d := auth.Digest(account)
	if got := hex.EncodeToString(d[:]); got != ethersAuthorizeDigest {
		t.Errorf("AuthorizeDevice: got %s", got)
	}
	rev := &Link{Type: LinkRevoke, Seq: 1, Prev: d, SigningKey: auth.SigningKey, Reason: ReasonLost, RevokedAt: 1750000000}
	d = rev.Digest(account)
	if got := hex.EncodeToString(d[:]); got != ethersRevokeDigest {
		t.Errorf("RevokeDevice: got %s", got)
	}
}

// The digest once more, by hand from EIP-712, without the library.
func TestDigestByHand(t *testing.T) {
	word := func(v uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24), v) }
	hash := func(parts ...[]byte) []byte { return crypto.Keccak256(parts...) }
	text := func(s string) []byte { return hash([]byte(s)) }

	account := Account{testWallet(t).Address(), 10}
	k := knownLink()
	k.Seq, k.Prev = 7, [32]byte{1, 2, 3}
	domain := hash(text("EIP712Domain(string name,string version)"), text("Parley Identity"), text("1"))
	body := hash(
		text("AuthorizeDevice(string statement,address account,uint256 accountChainId,uint64 seq,bytes32 prev,"+
			"string deviceName,bytes signingKey,bytes dhKey,string scope,uint64 notBefore,uint64 notAfter)"),
		text(AuthorizeStatement), make([]byte, 12), account.Address[:], word(10), word(7), k.Prev[:],
		text("laptop"), hash(k.SigningKey[:]), hash(k.DHKey[:]), text(Scope), word(1700000000), word(1800000000))
	if d := k.Digest(account); string(d[:]) != string(hash([]byte("\x19\x01"), domain, body)) {
		t.Error("AuthorizeDevice differs")
	}
	k.Type, k.Reason, k.RevokedAt = LinkRevoke, 9, 5
	body = hash(
		text("RevokeDevice(string statement,address account,uint256 accountChainId,uint64 seq,bytes32 prev,"+
			"bytes signingKey,uint8 reason,uint64 revokedAt)"),
		text(RevokeStatement), make([]byte, 12), account.Address[:], word(10), word(7), k.Prev[:],
		hash(k.SigningKey[:]), word(9), word(5))
	if d := k.Digest(account); string(d[:]) != string(hash([]byte("\x19\x01"), domain, body)) {
		t.Error("RevokeDevice differs")
	}
}

// Wallets get typed data as JSON: it must survive that with the same digest.
func TestTypedDataSurvivesJSON(t *testing.T) {
	account := Account{testWallet(t).Address(), 1<<64 - 1}
	for _, k := range []*Link{knownLink(), {Type: LinkRevoke, Seq: 1<<64 - 1, RevokedAt: 1<<64 - 1}} {
		js, err := json.Marshal(k.TypedData(account))
		noError(t, err)
		var back apitypes.TypedData
		noError(t, json.Unmarshal(js, &back))
		digest, _, err := apitypes.TypedDataAndHash(back)
		noError(t, err)
		if want := k.Digest(account); string(digest) != string(want[:]) {
			t.Errorf("another digest after JSON: %s", js)
		}
	}
}

func TestLinkText(t *testing.T) {
	d := [32]byte{0xab, 31: 0xcd}
	text := string(LinkText(d))
	if !strings.HasPrefix(text, textTemplate) || !strings.HasSuffix(text, "Digest: 0xab"+strings.Repeat("00", 30)+"cd") {
		t.Errorf("got %q", text)
	}
}

func TestLinkCheck(t *testing.T) {
	noError(t, knownLink().check())
	named := func(s string) func(*Link) { return func(k *Link) { k.DeviceName = s } }
	noError(t, func() error { k := knownLink(); named(strings.Repeat("~", MaxDeviceName))(k); return k.check() }())
	for name, edit := range map[string]func(*Link){
		"type":            func(k *Link) { k.Type = 3 },
		"signing key":     func(k *Link) { k.SigningKey[0] = 4 },
		"DH key":          func(k *Link) { k.DHKey = [33]byte{2, 32: 5} },
		"same key":        func(k *Link) { k.DHKey = k.SigningKey },
		"long name":       named(strings.Repeat("a", MaxDeviceName+1)),
		"name in Unicode": named("büro"),
		"name with a tab": named("a\tb"),
		"name with DEL":   named("a\x7f"),
		"empty period":    func(k *Link) { k.NotAfter = k.NotBefore },
		"far period":      func(k *Link) { k.NotAfter = maxTime + 1 },
		"scheme":          func(k *Link) { k.Scheme = 3 },
		"no scheme":       func(k *Link) { k.Scheme = 0 },
		"prev at 0":       func(k *Link) { k.Prev[5] = 1 },
		"no prev at 1":    func(k *Link) { k.Seq = 1 },
		"heals one":       func(k *Link) { k.Seq, k.Heals = 1, [][32]byte{{1}}; k.Prev = healPrev(k.Heals) },
		"heals unsorted":  func(k *Link) { k.Seq, k.Heals = 1, [][32]byte{{2}, {1}}; k.Prev = healPrev(k.Heals) },
		"heals twice":     func(k *Link) { k.Seq, k.Heals = 1, [][32]byte{{1}, {1}}; k.Prev = healPrev(k.Heals) },
		"heals, but prev": func(k *Link) { k.Seq, k.Heals, k.Prev = 1, [][32]byte{{1}, {2}}, [32]byte{1} },
		"heals at 0":      func(k *Link) { k.Heals = [][32]byte{{1}, {2}}; k.Prev = healPrev(k.Heals) },
		"heals too many":  func(k *Link) { k.Seq, k.Heals = 1, make([][32]byte, MaxHeals+1) },
		"revoked far":     func(k *Link) { k.Type, k.RevokedAt = LinkRevoke, maxTime+1 },
	} {
		k := knownLink()
		edit(k)
		if err := k.check(); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantError(t, err, ErrLink)
		}
	}
	k := knownLink()
	k.Seq, k.Heals = 1, [][32]byte{{1}, {2}}
	k.Prev = healPrev(k.Heals)
	noError(t, k.check())
}
