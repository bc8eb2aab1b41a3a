package transport

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	pb "github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/sha3"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

// ErrPeerID is returned for a peer id that is not the one id of a secp256k1 key.
var ErrPeerID = errors.New("transport: not the peer id of a secp256k1 key")

// PeerIDOf returns the peer id of a 33-byte compressed host key. It returns
// secp.ErrPublicKey, wrapped, for bytes that are no point on the curve.
func PeerIDOf(hostKey []byte) (peer.ID, error) {
	if _, err := secp.ParsePublicKey(hostKey); err != nil {
		return "", fmt.Errorf("transport: host key: %w", err)
	}
	pub, err := crypto.UnmarshalSecp256k1PublicKey(hostKey)
	if err != nil {
		return "", fmt.Errorf("transport: host key: %w", err)
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("transport: host key: %w", err)
	}
	return id, nil
}

// HostKeyOf returns the 33-byte compressed key inside a peer id. It returns
// ErrPeerID for ids of other kinds of keys, for hashes of keys, and for ids that
// encode a key in another way than PeerIDOf does: such an id is malleable, a
// second name for the same peer.
func HostKeyOf(id peer.ID) ([]byte, error) {
	pub, err := id.ExtractPublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrPeerID, err)
	}
	if pub.Type() != pb.KeyType_Secp256k1 || !id.MatchesPublicKey(pub) {
		return nil, ErrPeerID
	}
	raw, err := pub.Raw()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrPeerID, err)
	}
	return raw, nil
}

// AddressOf returns the Ethereum address of a peer's host key: the last 20
// bytes of Keccak-256 over the point. It returns ErrPeerID as HostKeyOf does.
func AddressOf(id peer.ID) ([20]byte, error) {
	raw, err := HostKeyOf(id)
	if err != nil {
		return [20]byte{}, err
	}
	pub, err := secp.ParsePublicKey(raw)
	if err != nil {
		return [20]byte{}, fmt.Errorf("%w: %v", ErrPeerID, err)
	}
	h := sha3.NewLegacyKeccak256()
	h.Write(pub.Uncompressed()[1:])
	return [20]byte(h.Sum(nil)[12:]), nil
}

// hostKey is the host's private key as libp2p wants it. libp2p's own signs in
// variable time; this one signs with secp.
type hostKey struct {
	key *secp.PrivateKey
	pub crypto.PubKey
}

var _ crypto.PrivKey = (*hostKey)(nil)

func newHostKey(scalar secret.Key) (*hostKey, error) {
	key, err := secp.NewPrivateKey(scalar.Bytes())
	if err != nil {
		return nil, fmt.Errorf("transport: host key: %w", err)
	}
	pub, err := crypto.UnmarshalSecp256k1PublicKey(key.PublicKey().Bytes())
	if err != nil {
		return nil, fmt.Errorf("transport: host key: %w", err)
	}
	return &hostKey{key: key, pub: pub}, nil
}

// Type implements crypto.Key.
func (k *hostKey) Type() pb.KeyType { return pb.KeyType_Secp256k1 }

// GetPublic implements crypto.PrivKey.
func (k *hostKey) GetPublic() crypto.PubKey { return k.pub }

// Equals implements crypto.Key.
func (k *hostKey) Equals(other crypto.Key) bool {
	o, ok := other.(*hostKey)
	return ok && k.pub.Equals(o.pub)
}

// Raw returns the scalar: libp2p derives the key of QUIC's stateless resets
// from it. Nothing of libp2p's that this package uses stores or sends it.
func (k *hostKey) Raw() ([]byte, error) {
	scalar := k.key.Bytes()
	defer scalar.Erase()
	return append([]byte(nil), scalar.Bytes()...), nil
}

// Sign returns a DER signature over SHA-256 of data, as libp2p's secp256k1 keys
// have it.
func (k *hostKey) Sign(data []byte) ([]byte, error) {
	sig := k.key.SignDigest(sha256.Sum256(data))
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addInteger(b, sig[:32])
		addInteger(b, sig[32:])
	})
	return b.Bytes()
}

// addInteger adds an unsigned big-endian number in DER's fewest bytes.
func addInteger(b *cryptobyte.Builder, v []byte) {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
		if v[0]&0x80 != 0 {
			b.AddUint8(0)
		}
		b.AddBytes(v)
	})
}
