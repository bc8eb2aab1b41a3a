package ratchet

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// A message is
//
//	hn(24) || mask(8) || sealed header || c
//
// where mask hides the length of the sealed header, which would otherwise tell
// messages with extensions from those without, and ordinary messages from
// first ones. Its second half is zeros before masking: a body under another
// header key is turned away for the price of two hashes.
const (
	nonceSize  = chacha20poly1305.NonceSizeX
	maskSize   = 8
	aeadTag    = chacha20poly1305.Overhead
	headerSize = 1 + 1 + secp.PublicKeySize + 4 + 4 + 4 // without extensions

	// messageOverhead is what a message without extensions adds to its
	// plaintext, the shortest padding of one byte included.
	messageOverhead = nonceSize + maskSize + headerSize + aeadTag + aeadTag + 1
)

// ext is one extension of a header. Types ascend strictly. A receiver ignores
// types it does not know: an extension that must be understood needs a flag of
// the header, and unknown flags are refused.
type ext struct {
	typ  uint16
	data []byte
}

// header is the plaintext of a message's header.
type header struct {
	dh  [secp.PublicKeySize]byte // the sender's ratchet key of this chain
	pn  uint32                   // messages in the sender's chain before
	n   uint32                   // number of this message in its chain
	ext []ext
}

// extSize is how many bytes the extensions have.
func (h *header) extSize() (n int) {
	for _, e := range h.ext {
		n += 2 + 4 + len(e.data)
	}
	return n
}

func (h *header) marshal() []byte {
	n := h.extSize()
	b := make([]byte, 0, headerSize+n)
	b = append(b, Version, h.flags())
	b = append(b, h.dh[:]...)
	b = wire.AppendUint32(b, h.pn)
	b = wire.AppendUint32(b, h.n)
	b = wire.AppendUint32(b, uint32(n))
	for _, e := range h.ext {
		b = wire.AppendLP(wire.AppendUint16(b, e.typ), e.data)
	}
	return b
}

// parseHeader decodes an authenticated header. Its point is not looked at yet.
func parseHeader(b []byte) (*header, error) {
	r := wire.NewReader(b)
	version, flags := r.Uint8(), r.Uint8()
	if r.Err() == nil && (version != Version || flags&^flagAnswer != 0) {
		return nil, fmt.Errorf("%w: message has version %d, flags %#x", ErrVersion, version, flags)
	}
	h := new(header)
	r.Copy(h.dh[:])
	h.pn = r.Uint32()
	h.n = r.Uint32()
	list := wire.NewReader(r.LP(MaxExt))
	for list.More() {
		e := ext{typ: list.Uint16(), data: list.LP(MaxExt)}
		if k := len(h.ext); k > 0 && h.ext[k-1].typ >= e.typ {
			list.Fail(wire.ErrValue)
		}
		if list.Err() == nil && !e.fits() {
			list.Fail(wire.ErrValue)
		}
		h.ext = append(h.ext, e)
	}
	r.Join(list)
	if r.Err() == nil && flags != h.flags() {
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return nil, ErrDecrypt
	}
	return h, nil
}

// frameMask is the mask of a message with nonce hn. Tags hash 8 bytes under the
// same key and masks 24, so that they are apart.
func frameMask(tagKey, hn []byte) []byte { return hmacSum(tagKey, hn)[:maskSize] }

// sealMessage encrypts pt under hk (header) and mk (content) so that the result
// is exactly size bytes long. The content is encrypted first, with the header as
// additional data; then the header, with the encrypted content as additional
// data. So who has the header key knows from one opening that nobody else has
// touched the body.
func (m *meter) sealMessage(hk, mk secret.Key, id ID, h *header, pt, appAD []byte, size int) []byte {
	plain := h.marshal()
	n := nonceSize + maskSize + len(plain) + aeadTag
	body := make([]byte, n, size)
	hn := body[:nonceSize]
	rand.Read(hn)

	mask := body[nonceSize:][:maskSize]
	binary.BigEndian.PutUint32(mask, uint32(len(plain)+aeadTag))
	subtle.XORBytes(mask, mask, frameMask(tagKey(hk), hn))

	key, nonce := messageKey(mk, hn)
	defer clear(key)
	padded := body[n : size-aeadTag]
	clear(padded[copy(padded, pt):])
	padded[len(pt)] = 0x80
	m.seal(key, nonce)
	body = aead(key).Seal(body[:n], nonce, padded, contentAD(id, hn, plain, appAD))
	sealed := body[nonceSize+maskSize : n]
	m.seal(hk.Bytes(), hn)
	xaead(hk.Bytes()).Seal(sealed[:0], hn, plain, headerAD(id, body[n:]))
	return body
}

// openedHeader is a header with what opening the content needs.
type openedHeader struct {
	header
	hn, content []byte // views of the body
	plain       []byte // the header as it was encrypted
}

// openHeader checks body against one header key: two hashes, and one AEAD
// opening if the mask fits. What it returns was made by the peer, as a whole.
func (s *Session) openHeader(hk secret.Key, body []byte) (*openedHeader, error) {
	if len(body) < messageOverhead || len(body) > MaxBody {
		return nil, ErrDecrypt
	}
	hn, mask, rest := body[:nonceSize], body[nonceSize:][:maskSize], body[nonceSize+maskSize:]
	var lengths [maskSize]byte
	subtle.XORBytes(lengths[:], mask, frameMask(tagKey(hk), hn))
	size, zero := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if zero != 0 || size < headerSize+aeadTag || size > headerSize+MaxExt+aeadTag ||
		int(size) > len(rest)-aeadTag-1 {
		return nil, ErrDecrypt
	}
	sealed, content := rest[:size:size], rest[size:]
	s.meter.add(countHeader)
	plain, err := xaead(hk.Bytes()).Open(nil, hn, sealed, headerAD(s.id, content))
	if err != nil {
		return nil, ErrDecrypt
	}
	h, err := parseHeader(plain)
	if err != nil {
		return nil, err
	}
	return &openedHeader{header: *h, hn: hn, content: content, plain: plain}, nil
}

// openContent decrypts the content with its message key and takes the padding off.
func (o *openedHeader) openContent(mk secret.Key, id ID, appAD []byte) ([]byte, error) {
	key, nonce := messageKey(mk, o.hn)
	defer clear(key)
	padded, err := aead(key).Open(nil, nonce, o.content, contentAD(id, o.hn, o.plain, appAD))
	if err != nil {
		return nil, ErrDecrypt
	}
	for i := len(padded) - 1; i >= 0; i-- {
		switch padded[i] {
		case 0:
		case 0x80:
			return padded[:i:i], nil
		default:
			return nil, ErrDecrypt
		}
	}
	return nil, ErrDecrypt
}

// headerAD is T || c, the additional data of the header.
func headerAD(id ID, content []byte) []byte {
	return append(append(make([]byte, 0, IDSize+len(content)), id[:]...), content...)
}

// contentAD is T || LP(hn || header) || LP(appAD), the additional data of the
// content.
func contentAD(id ID, hn, plain, appAD []byte) []byte {
	b := make([]byte, 0, IDSize+4+len(hn)+len(plain)+4+len(appAD))
	b = append(b, id[:]...)
	b = wire.AppendUint32(b, uint32(len(hn)+len(plain)))
	b = append(append(b, hn...), plain...)
	return wire.AppendLP(b, appAD)
}

// sizeFor returns the smallest body size of at least n bytes, 0 if there is none.
func sizeFor(n int) int {
	for _, size := range bodySizes {
		if n <= size {
			return size
		}
	}
	return 0
}
