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
// with the header as additional data; then the header, with the encrypted content
// as additional data. So who has the header key knows from one opening that
// nobody else has touched the body.
func (m *meter) sealMessage(hk, tk secret.Key, mk []byte, id ID, h *header, pt, appAD []byte, size int) []byte {
	length := headerSize + h.extSize()
	n := nonceSize + maskSize + length + aeadTag
	body := make([]byte, size)
	hn, mask, sealed, padded := body[:nonceSize], body[nonceSize:][:maskSize], body[nonceSize+maskSize:n], body[n:size-aeadTag]
	rand.Read(hn)
	binary.BigEndian.PutUint32(mask, uint32(length+aeadTag))
	hide := frameMask(tk, hn)
	subtle.XORBytes(mask, mask, hide[:])

	// The key, the additional data of the content, and in it the header.
	scratch := make([]byte, 0, messageKeySize+contentADSize+length+len(appAD))
	scratch = messageKey(scratch, mk, hn)
	key, nonce := scratch[:keySize], scratch[keySize:]
	defer clear(key)
	plain, ad := appendContentAD(scratch[len(scratch):], id, hn, h.append, length, appAD)

	padded[copy(padded, pt)] = 0x80
	m.seal(key, nonce)
	aead(key).Seal(padded[:0], nonce, padded, ad)
	m.seal(hk.Bytes(), hn)
	xaead(hk.Bytes()).Seal(sealed[:0], hn, plain, body[n:])
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
func (s *Session) openHeader(hk, tk secret.Key, body []byte) (*openedHeader, error) {
	if len(body) < messageOverhead || len(body) > MaxBody {
		return nil, ErrDecrypt
	}
	hn, mask, rest := body[:nonceSize], body[nonceSize:][:maskSize], body[nonceSize+maskSize:]
	lengths := frameMask(tk, hn)
	subtle.XORBytes(lengths[:], lengths[:], mask)
	size, zero := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if zero != 0 || size < headerSize+aeadTag || size > headerSize+MaxExt+aeadTag ||
		int(size) > len(rest)-aeadTag-1 {
		return nil, ErrDecrypt
	}
	sealed, content := rest[:size:size], rest[size:]
	s.meter.add(countHeader)
	plain, err := xaead(hk.Bytes()).Open(nil, hn, sealed, content)
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
func (o *openedHeader) openContent(mk []byte, id ID, appAD []byte) ([]byte, error) {
	scratch := make([]byte, 0, messageKeySize+contentADSize+len(o.plain)+len(appAD))
	scratch = messageKey(scratch, mk, o.hn)
	key, nonce := scratch[:keySize], scratch[keySize:]
	defer clear(key)
	_, ad := appendContentAD(scratch[len(scratch):], id, o.hn, func(b []byte) []byte { return append(b, o.plain...) }, len(o.plain), appAD)
	padded, err := aead(key).Open(nil, nonce, o.content, ad)
	if err != nil {
		return nil, ErrDecrypt
	}
	return unpad(padded)
}

// unpad takes off 0x80 and the zeros after it. What is padded has been
// authenticated, so that its time may depend on it.
func unpad(b []byte) ([]byte, error) {
	n := len(b)
	for n >= 8 && binary.NativeEndian.Uint64(b[n-8:]) == 0 {
		n -= 8
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	if n == 0 || b[n-1] != 0x80 {
		return nil, ErrDecrypt
	}
	return b[: n-1 : n-1], nil
}

// contentADSize is the length of the content's additional data without header
// and application data.
const contentADSize = IDSize + 4 + nonceSize + 4

// appendContentAD appends T || LP(hn || header) || LP(appAD), the additional data
// of the content, and returns it with the header in it, which write appends and
// which has length bytes.
func appendContentAD(b []byte, id ID, hn []byte, write func([]byte) []byte, length int, appAD []byte) (plain, ad []byte) {
	from := len(b)
	b = append(b, id[:]...)
	b = wire.AppendUint32(b, uint32(len(hn)+length))
	b = append(b, hn...)
	at := len(b)
	b = write(b)
	end := len(b)
	b = wire.AppendLP(b, appAD)
	return b[at:end:end], b[from:]
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
