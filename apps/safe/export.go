package safe

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// ErrExport is returned for a text that is not a whole export of a ledger.
var ErrExport = errors.New("safe: not an export")

const (
	// exportScheme begins every line of an export.
	exportScheme = "parley-safe"
	// ExportLine is the length of a line that a QR code of a usual screen and
	// camera can hold, in bytes.
	ExportLine = 1200

	exportVersion = 1
	exportTagSize = 8 // hex digits that say which lines belong together
	maxLines      = maxExport / 64
)

// wireExport is the body of an export.
type wireExport struct {
	Version uint          `cbor:"1,keyasint"`
	Items   []wireExport1 `cbor:"2,keyasint"`
}

type wireExport1 struct {
	_    struct{} `cbor:",toarray"`
	Type string
	Body []byte
}

var exportDecoding = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	UTF8:              cbor.UTF8RejectInvalid,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	MaxNestedLevels:   4,
	MaxArrayElements:  maxItems,
	MaxMapPairs:       16,
}.DecMode())

// Export writes items as text, for a file or for QR codes: lines of at most
// lineLength bytes (0 for one line), each of which says which part of the whole
// it is. It returns [ErrItem] for an item that cannot travel, and [ErrExport] for
// too many.
func Export(items []*Item, lineLength int) ([]string, error) {
	if len(items) > maxItems {
		return nil, fmt.Errorf("%w: %d items, %d are the most", ErrExport, len(items), maxItems)
	}
	w := wireExport{Version: exportVersion, Items: []wireExport1{}}
	for _, i := range items {
		typ, body, err := i.marshal()
		if err != nil {
			return nil, err
		}
		w.Items = append(w.Items, wireExport1{Type: typ, Body: body})
	}
	b, err := itemEncoding.Marshal(w)
	if err != nil {
		return nil, err
	}
	if len(b) > maxExport {
		return nil, fmt.Errorf("%w: %d bytes, %d are the most", ErrExport, len(b), maxExport)
	}
	text, tag := base64.RawURLEncoding.EncodeToString(b), exportTag(b)
	chunk := len(text)
	if lineLength > 0 {
		chunk = max(64, lineLength-len(exportScheme)-exportTagSize-len(":12345/12345::"))
	}
	var parts []string
	for c := range slices.Chunk([]byte(text), chunk) {
		parts = append(parts, string(c))
	}
	if len(parts) > maxLines {
		return nil, fmt.Errorf("%w: %d lines", ErrExport, len(parts))
	}
	for i, p := range parts {
		parts[i] = fmt.Sprintf("%s:%d/%d:%s:%s", exportScheme, i+1, len(parts), tag, p)
	}
	return parts, nil
}

func exportTag(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:exportTagSize/2])
}

// ParseExport reads what Export wrote, its lines in any order and any number of
// times; blank lines and space around lines are ignored. It returns [ErrExport],
// which names the lines that are missing, and [ErrItem]. Items of types that this
// version does not know are left out, and counted.
func ParseExport(text []byte) (items []*Item, unknown int, err error) {
	b, err := joinExport(text)
	if err != nil {
		return nil, 0, err
	}
	var w wireExport
	if err := exportDecoding.Unmarshal(b, &w); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrExport, err)
	}
	if w.Version != exportVersion {
		return nil, 0, fmt.Errorf("%w: version %d, this program reads %d", ErrExport, w.Version, exportVersion)
	}
	for _, e := range w.Items {
		item, err := parseItem(e.Type, e.Body)
		if errors.Is(err, ErrItemType) {
			unknown++
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		items = append(items, item)
	}
	return items, unknown, nil
}

// joinExport puts the lines of one export together.
func joinExport(text []byte) ([]byte, error) {
	if len(text) > 2*maxExport {
		return nil, fmt.Errorf("%w: too large", ErrExport)
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrExport, fmt.Sprintf(format, args...))
	}
	var tag string
	var parts []string
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" {
			continue
		}
		f := strings.SplitN(s, ":", 4)
		if len(f) != 4 || f[0] != exportScheme {
			return nil, fail("a line does not begin with %s:", exportScheme)
		}
		no, of, ok := strings.Cut(f[1], "/")
		i, err1 := strconv.Atoi(no)
		n, err2 := strconv.Atoi(of)
		if !ok || err1 != nil || err2 != nil || i < 1 || i > n || n > maxLines {
			return nil, fail("a line says %.20q of its place", f[1])
		}
		switch {
		case parts == nil:
			parts, tag = make([]string, n), f[2]
		case tag != f[2] || len(parts) != n:
			return nil, fail("lines of two exports are mixed; give one at a time")
		}
		if parts[i-1] != "" && parts[i-1] != f[3] {
			return nil, fail("line %d is there twice, and differs", i)
		}
		parts[i-1] = f[3]
	}
	if parts == nil {
		return nil, fail("it is empty")
	}
	var missing []string
	for i, p := range parts {
		if p == "" {
			missing = append(missing, strconv.Itoa(i+1))
		}
	}
	if len(missing) > 0 {
		const most = 10
		list := strings.Join(missing[:min(most, len(missing))], ", ")
		return nil, fail("of %d lines %d are missing: %s", len(parts), len(missing), list)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.Join(parts, ""))
	if err != nil {
		return nil, fail("a line is damaged: %v", err)
	}
	if exportTag(b) != tag {
		return nil, fail("a line is damaged: the checksum differs")
	}
	return b, nil
}
