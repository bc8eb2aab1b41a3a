package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/holiman/uint256"

	"github.com/parley-im/parley/apps/safe"
)

// parseAddress reads an address with its checksum (EIP-55).
func parseAddress(s string) (common.Address, bool) {
	a := common.HexToAddress(s)
	return a, a.Hex() == s
}

func pathAddress(r *http.Request) (common.Address, error) {
	s := r.PathValue("address")
	a, ok := parseAddress(s)
	if !ok {
		return a, &apiError{status: http.StatusUnprocessableEntity, body: map[string]any{
			"code": 1, "message": "Checksum address validation failed", "arguments": []string{s},
		}}
	}
	return a, nil
}

// parseHash reads 32 bytes in hex behind 0x.
func parseHash(s string) (common.Hash, bool) {
	b, err := hexutil.Decode(s)
	if err != nil || len(b) != common.HashLength {
		return common.Hash{}, false
	}
	return common.Hash(b), true
}

func pathHash(r *http.Request) (common.Hash, error) {
	h, ok := parseHash(r.PathValue("hash"))
	if !ok {
		return h, errNotFound
	}
	return h, nil
}

// readBody reads a request's JSON into out. Its type must be said: a web page
// can send other types to any address without asking.
func readBody(r *http.Request, out any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &apiError{status: http.StatusUnsupportedMediaType, body: detail("The Content-Type must be application/json.")}
	}
	b, err := io.ReadAll(r.Body)
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return &apiError{status: http.StatusRequestEntityTooLarge, body: detail(fmt.Sprintf("A body has at most %d bytes.", tooLong.Limit))}
	case err != nil:
		return badRequest("The body did not arrive.")
	}
	if err := json.Unmarshal(b, out); err != nil {
		return badRequest("JSON parse error - " + err.Error())
	}
	return nil
}

// quantity is an integer in JSON: a number, or a string in decimal or in hex
// behind 0x.
type quantity struct {
	uint256.Int
	set bool
}

func (q *quantity) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" {
		return nil
	}
	if s[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	q.set = true
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		digits = strings.TrimLeft(digits, "0")
		if digits == "" && len(s) > 2 {
			digits = "0"
		}
		if err := q.SetFromHex("0x" + digits); err != nil {
			return fmt.Errorf("%.80q is not a number of 256 bits", s)
		}
		return nil
	}
	if s == "" || strings.Trim(s, "0123456789") != "" || q.SetFromDecimal(s) != nil {
		return fmt.Errorf("%.80q is not a number of 256 bits", s)
	}
	return nil
}

// readSignatures reads the signatures over a hash in a request's field. Their
// owners are recovered, and not verified: the room does.
func readSignatures(hash common.Hash, field string) ([]safe.Signature, error) {
	if field == "" {
		return nil, invalid("signature", "This field is required.")
	}
	b, err := hexutil.Decode(field)
	if err != nil {
		return nil, invalid("signature", "It is not hex behind 0x.")
	}
	all, err := safe.ParseSignatures(hash, b)
	if err != nil {
		return nil, invalid("signature", err.Error())
	}
	return all, nil
}

// posting is the context for telling the group: a client that hangs up does not
// leave half of it unsaid.
func posting(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), postTimeout)
}

// page is a part of a list, with the addresses of those beside it.
type page struct {
	Count            int     `json:"count"`
	Next             *string `json:"next"`
	Previous         *string `json:"previous"`
	Results          any     `json:"results"`
	CountUniqueNonce *int    `json:"countUniqueNonce,omitempty"`
}

// knownQuery refuses query parameters that would be ignored: a list that is not
// filtered must not be taken for one that is.
func knownQuery(q url.Values, known ...string) error {
	for k := range q {
		if !slices.Contains(known, k) && k != "limit" && k != "offset" {
			return badRequest(fmt.Sprintf("The parameter %.40q is not known.", k))
		}
	}
	return nil
}

// paginate cuts a page out of a list, and shows each of it.
func paginate[T, U any](r *http.Request, all []T, show func(T) U) (*page, error) {
	q := r.URL.Query()
	number := func(name string, def int) (int, error) {
		s := q.Get(name)
		if s == "" {
			return def, nil
		}
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return 0, badRequest(fmt.Sprintf("The parameter %s is not a number.", name))
		}
		return int(n), nil
	}
	limit, err := number("limit", defaultPage)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultPage
	}
	limit = min(limit, maxPage)
	offset, err := number("offset", 0)
	if err != nil {
		return nil, err
	}
	at := func(offset int) *string {
		u := *r.URL
		q := u.Query()
		q.Set("limit", strconv.Itoa(limit))
		q.Set("offset", strconv.Itoa(offset))
		u.Scheme, u.Host, u.RawQuery = "http", r.Host, q.Encode()
		s := u.String()
		return &s
	}
	p := &page{Count: len(all)}
	begin := min(offset, len(all))
	end := min(begin+limit, len(all))
	if end < len(all) {
		p.Next = at(end)
	}
	if begin > 0 {
		p.Previous = at(max(0, begin-limit))
	}
	results := make([]U, 0, end-begin)
	for _, one := range all[begin:end] {
		results = append(results, show(one))
	}
	p.Results = results
	return p, nil
}

// order sorts a list by what a client asks for, such as "-nonce". Without a
// wish it stays as it is.
func order[T any](q url.Values, all []T, by map[string]func(a, b T) int) error {
	wish := q.Get("ordering")
	if wish == "" {
		return nil
	}
	field, down := strings.CutPrefix(wish, "-")
	compare := by[field]
	if compare == nil {
		return badRequest(fmt.Sprintf("It cannot be ordered by %.40q.", field))
	}
	slices.SortStableFunc(all, func(a, b T) int {
		if down {
			a, b = b, a
		}
		return compare(a, b)
	})
	return nil
}

// flag reads a parameter that is true or false, or not there.
func flag(q url.Values, name string) (value, set bool, err error) {
	switch strings.ToLower(q.Get(name)) {
	case "":
		return false, false, nil
	case "true", "1":
		return true, true, nil
	case "false", "0":
		return false, true, nil
	}
	return false, false, badRequest(fmt.Sprintf("The parameter %s is true or false.", name))
}
