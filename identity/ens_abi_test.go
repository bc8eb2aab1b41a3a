package identity

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// lookupABI is OffchainLookup for go-ethereum's ABI code, the other opinion.
var lookupABI = func() abi.Error {
	a, err := abi.JSON(strings.NewReader(`[{"type":"error","name":"OffchainLookup","inputs":[
		{"name":"sender","type":"address"},{"name":"urls","type":"string[]"},{"name":"callData","type":"bytes"},
		{"name":"callbackFunction","type":"bytes4"},{"name":"extraData","type":"bytes"}]}]`))
	if err != nil {
		panic(err)
	}
	return a.Errors["OffchainLookup"]
}()

func packLookup(t testing.TB, l *offchainLookup) []byte {
	b, err := lookupABI.Inputs.Pack(l.sender, l.urls, l.callData, l.callback, l.extra)
	if err != nil {
		t.Fatal(err)
	}
	return append(selOffchainLookup[:], b...)
}

func sameLookup(a, b *offchainLookup) bool {
	return a.sender == b.sender && slices.Equal(a.urls, b.urls) && bytes.Equal(a.callData, b.callData) &&
		a.callback == b.callback && bytes.Equal(a.extra, b.extra)
}

func TestDecodeLookup(t *testing.T) {
	l := &offchainLookup{
		sender:   common.HexToAddress("0x1234"),
		urls:     []string{"https://a.example/{sender}/{data}.json", "", "https://b.example"},
		callData: []byte("question"),
		callback: [4]byte{1, 2, 3, 4},
		extra:    bytes.Repeat([]byte{5}, 33),
	}
	b := packLookup(t, l)
	got, err := decodeLookup(b)
	if err != nil || !sameLookup(got, l) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	// The padding at the end holds nothing, so prefixes count without it.
	for i := range len(b) - 31 {
		if _, err := decodeLookup(b[:i]); err == nil {
			t.Errorf("prefix of %d bytes was decoded", i)
		}
	}
	for name, bad := range map[string]*offchainLookup{
		"urls": {urls: make([]string, MaxGatewayURLs+1)},
		"url":  {urls: []string{strings.Repeat("a", MaxGatewayURL+1)}},
		"size": {callData: make([]byte, MaxLookup)},
	} {
		if _, err := decodeLookup(packLookup(t, bad)); err == nil {
			t.Errorf("%s: the limit is not kept", name)
		}
	}
	dirty := bytes.Clone(b)
	dirty[4] = 1 // above the sender's 20 bytes
	if _, err := decodeLookup(dirty); err == nil {
		t.Error("a sender of more than 20 bytes was decoded")
	}
}

func TestCallBytesPair(t *testing.T) {
	bytesType, err := abi.NewType("bytes", "", nil)
	must(t, err)
	pair := abi.Arguments{{Type: bytesType}, {Type: bytesType}}
	for _, n := range []int{0, 1, 31, 32, 33, 64} {
		first, second := bytes.Repeat([]byte{1}, n), bytes.Repeat([]byte{2}, 65-n)
		want, err := pair.Pack(first, second)
		must(t, err)
		got := callBytesPair(selResolve, first, second)
		if !bytes.Equal(got, append(selResolve[:], want...)) {
			t.Errorf("%d bytes: %x", n, got)
		}
		back, err := abiBytes(got[4:], 0)
		if err != nil || !bytes.Equal(back, first) {
			t.Errorf("%d bytes: read back as %x, %v", n, back, err)
		}
	}
}

func TestDecodeGatewayAnswer(t *testing.T) {
	for in, want := range map[string]string{
		`{"data":"0x1234"}`:             "0x1234",
		`{"data":"0x"}`:                 "0x",
		`{"data":"0x12","more":[1,{}]}`: "0x12",
	} {
		if got, err := decodeGatewayAnswer([]byte(in)); err != nil || hexutil.Encode(got) != want {
			t.Errorf("%s is %x, %v", in, got, err)
		}
	}
	for _, in := range []string{``, `{}`, `null`, `[]`, `{"data":null}`, `{"data":12}`, `{"data":"1234"}`, `{"data":"0x123"}`, `{"data":"0xgg"}`, `{"data":"0x12"`, `{"data":"0x12"} x`} {
		if got, err := decodeGatewayAnswer([]byte(in)); err == nil {
			t.Errorf("%s is %x", in, got)
		}
	}
	if _, err := decodeGatewayAnswer(bytes.Repeat([]byte{' '}, MaxGatewayAnswer+1)); err == nil {
		t.Error("an answer beyond the limit was read")
	}
}

// Whatever decodes is what go-ethereum reads from the same bytes, and survives
// being encoded again.
func FuzzDecodeLookup(f *testing.F) {
	f.Add(packLookup(f, &offchainLookup{urls: []string{"https://a.example/{data}"}, callData: []byte{1}, extra: []byte{2}}))
	f.Add(packLookup(f, &offchainLookup{}))
	f.Add(selOffchainLookup[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLookup(b)
		if err != nil {
			return
		}
		if len(l.urls) > MaxGatewayURLs {
			t.Fatalf("%d urls", len(l.urls))
		}
		again, err := decodeLookup(packLookup(t, l))
		if err == nil && !sameLookup(again, l) {
			t.Fatalf("%+v became %+v", l, again)
		}
		// Encoding can only fail to decode by growing beyond the limit, when fields
		// shared their bytes.
		if err != nil && len(packLookup(t, l)) <= MaxLookup {
			t.Fatal(err)
		}
		if v, err := lookupABI.Inputs.Unpack(b[4:]); err == nil && (v[0] != l.sender || !bytes.Equal(v[2].([]byte), l.callData) || !bytes.Equal(v[4].([]byte), l.extra)) {
			t.Fatalf("go-ethereum reads %v", v)
		}
	})
}

func FuzzDecodeGatewayAnswer(f *testing.F) {
	f.Add([]byte(`{"data":"0x1234"}`))
	f.Add([]byte(`{"data":"0x123"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := decodeGatewayAnswer(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(map[string]string{"data": hexutil.Encode(data)})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeGatewayAnswer(out); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x became %x, %v", data, again, err)
		}
	})
}
