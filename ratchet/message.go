package ratchet

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

// A message is
//
//	hn(24) || mask(8) || sealed header || c
//
// where the sealed header is as long as it takes to make the body one of
// bodySizes: its padding is in it. mask hides its length, which would otherwise
// tell how long the content is. Its second half is zeros before masking: a body under another
// header key is turned away for the price of two hashes.
const (
	nonceSize  = chacha20poly1305.NonceSizeX
	maskSize   = 8
	aeadTag    = chacha20poly1305.Overhead
	headerSize = 1 + 1 + secp.PublicKeySize + 4 + 4 + 4 // without extensions

	// messageOverhead is what a message without extensions adds to its
	// plaintext.
	messageOverhead = nonceSize + maskSize + headerSize + aeadTag + aeadTag
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
	return h.append(make([]byte, 0, headerSize+h.extSize()))
}

func (h *header) append(b []byte) []byte {
	b = append(b, Version, h.flags())
	b = append(b, h.dh[:]...)
	b = wire.AppendUint32(b, h.pn)
	b = wire.AppendUint32(b, h.n)
	b = wire.AppendUint32(b, uint32(h.extSize()))
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
func frameMask(tagKey secret.Key, hn []byte) (mask [maskSize]byte) {
	sum := hmacSum(tagKey.Bytes(), hn)
	copy(mask[:], sum[:])
	return mask
}

// sealMessage encrypts pt under hk (header, with the tag key tk) and mk (content)
// so that the result is exactly size bytes long. The content is encrypted first,
// with the header as additional data; then the header, and the padding after it,
// with the encrypted content as additional data. So who has the header key knows
// from one opening that nobody else has touched the body.
func (m *meter) sealMessage(hk, tk secret.Key, mk []byte, id ID, h *header, pt, appAD []byte, size int) []byte {
	body := make([]byte, size)
	hn, mask, rest := body[:nonceSize], body[nonceSize:][:maskSize], body[nonceSize+maskSize:]
	n := len(rest) - len(pt) - aeadTag
	sealed, content := rest[:n], rest[n:]
	rand.Read(hn)
	binary.BigEndian.PutUint32(mask, uint32(n))
	hide := frameMask(tk, hn)
	subtle.XORBytes(mask, mask, hide[:])
	padded := sealed[:n-aeadTag]
	plain := h.append(padded[:0])

	scratch := make([]byte, 0, messageKeySize+contentADSize+len(plain)+len(appAD))
	scratch = messageKey(scratch, mk, hn)
	key, nonce := scratch[:keySize], scratch[keySize:]
	defer clear(key)
	m.seal(key, nonce)
	aead(key).Seal(content[:0], nonce, pt, appendContentAD(scratch[len(scratch):], id, hn, plain, appAD))
	m.seal(hk.Bytes(), hn)
	xaead(hk.Bytes()).Seal(sealed[:0], hn, padded, content)
	return body
}

// openedHeader is a header with what opening the content needs.
type openedHeader struct {
	header
	hn, content []byte // views of the body
	plain       []byte // the header as it was encrypted, without padding
}

// openHeader checks body against one header key: a hash, and one AEAD opening if
// the mask fits. What it returns was made by the peer, as a whole.
func (s *Session) openHeader(hk, tk secret.Key, body []byte) (*openedHeader, error) {
	if len(body) < messageOverhead || len(body) > MaxBody {
		return nil, ErrDecrypt
	}
	hn, mask, rest := body[:nonceSize], body[nonceSize:][:maskSize], body[nonceSize+maskSize:]
	lengths := frameMask(tk, hn)
	subtle.XORBytes(lengths[:], lengths[:], mask)
	size, zero := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if zero != 0 || size < headerSize+aeadTag || uint64(size) > uint64(len(rest)-aeadTag) {
		return nil, ErrDecrypt
	}
	sealed, content := rest[:size:size], rest[size:]
	s.meter.add(countHeader)
	buffer := openBuffers.Get().(*[MaxBody]byte)
	defer openBuffers.Put(buffer)
	padded, err := xaead(hk.Bytes()).Open(buffer[:0], hn, sealed, content)
	if err != nil {
		return nil, ErrDecrypt
	}
	// The header says itself where it ends, and the padding begins.
	n := min(len(padded), headerSize+int(min(MaxExt, binary.BigEndian.Uint32(padded[headerSize-4:]))))
	plain := bytes.Clone(padded[:n])
	clear(padded[:n])
	h, err := parseHeader(plain)
	if err != nil {
		clear(padded)
		return nil, err
	}
	if !zeros(padded[n:]) {
		clear(padded)
		return nil, ErrDecrypt
	}
	return &openedHeader{header: *h, hn: hn, content: content, plain: plain}, nil
}

// zeros reports whether b is nothing but zeros. It is for what has been
// authenticated, so that its time may depend on it.
func zeros(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// openBuffers are for headers with their padding, most of which is not kept. They
// are cleared before they go back.
var openBuffers = sync.Pool{New: func() any { return new([MaxBody]byte) }}

// openContent decrypts the content with its message key.
func (o *openedHeader) openContent(mk []byte, id ID, appAD []byte) ([]byte, error) {
	scratch := make([]byte, 0, messageKeySize+contentADSize+len(o.plain)+len(appAD))
	scratch = messageKey(scratch, mk, o.hn)
	key, nonce := scratch[:keySize], scratch[keySize:]
	defer clear(key)
	pt, err := aead(key).Open(nil, nonce, o.content, appendContentAD(scratch[len(scratch):], id, o.hn, o.plain, appAD))
	if err != nil {
		return nil, ErrDecrypt
	}
	return pt, nil
}

// contentADSize is the length of the content's additional data without header
// and application data.
const contentADSize = IDSize + 4 + nonceSize + 4

// appendContentAD appends T || LP(hn || header) || LP(appAD), the additional data
// of the content.
func appendContentAD(b []byte, id ID, hn, plain, appAD []byte) []byte {
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
