package identity

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// universalABI is what ens_universal.go encodes and decodes by hand, for
// go-ethereum's ABI code, the other opinion.
var universalABI = func() abi.ABI {
	a, err := abi.JSON(strings.NewReader(`[
		{"type":"function","name":"resolveWithGateways","inputs":[{"name":"name","type":"bytes"},{"name":"data","type":"bytes"},{"name":"gateways","type":"string[]"}],"outputs":[]},
		{"type":"function","name":"query","inputs":[{"name":"queries","type":"tuple[]","components":[
			{"name":"sender","type":"address"},{"name":"urls","type":"string[]"},{"name":"data","type":"bytes"}]}],
			"outputs":[{"name":"failures","type":"bool[]"},{"name":"responses","type":"bytes[]"}]}]`))
	if err != nil {
		panic(err)
	}
	return a
}()

func TestSelectors(t *testing.T) {
	for sig, sel := range map[string][4]byte{
		"OffchainLookup(address,string[],bytes,bytes4,bytes)": selOffchainLookup,
		"resolve(bytes,bytes)":                                selResolve,
		"resolveWithGateways(bytes,bytes,string[])":           selResolveWithGateways,
		"query((address,string[],bytes)[])":                   selBatchQuery,
		"Error(string)":                                       selError,
		"ResolverError(bytes)":                                selResolverError,
		"ResolverNotFound(bytes)":                             selResolverNotFound,
		"ResolverNotContract(bytes,address)":                  selResolverNoCode,
		"UnsupportedResolverProfile(bytes4)":                  selUnsupportedMethod,
	} {
		if got := crypto.Keccak256([]byte(sig))[:4]; !bytes.Equal(got, sel[:]) {
			t.Errorf("%s is %x, not %x", sig, got, sel)
		}
	}
}

func TestCallUniversal(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 64} {
		name, question := bytes.Repeat([]byte{1}, n), bytes.Repeat([]byte{2}, 65-n)
		want, err := universalABI.Pack("resolveWithGateways", name, question, []string{batchGatewayURL})
		must(t, err)
		if got := callUniversal(name, question); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

// batchQuery is one look-up of a batch as go-ethereum wants it.
type batchQuery struct {
	Sender common.Address
	Urls   []string
	Data   []byte
}

func packBatch(t testing.TB, queries ...batchQuery) []byte {
	b, err := universalABI.Pack("query", queries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBatch(t *testing.T) {
	queries := []batchQuery{
		{common.Address{1}, []string{"https://a.example", ""}, []byte("question")},
		{common.Address{2}, nil, nil},
	}
	b := packBatch(t, queries...)
	list, err := decodeBatch(b)
	must(t, err)
	for i, q := range queries {
		if !sameLookup(list[i], &offchainLookup{sender: q.Sender, urls: q.Urls, callData: q.Data}) {
			t.Errorf("query %d is %+v", i, list[i])
		}
	}
	for i := range b {
		if _, err := decodeBatch(b[:i]); err == nil {
			t.Errorf("prefix of %d bytes was decoded", i)
		}
	}
	for name, bad := range map[string][]byte{
		"queries": packBatch(t, make([]batchQuery, MaxBatch+1)...),
		"urls":    packBatch(t, batchQuery{Urls: make([]string, MaxGatewayURLs+1)}),
		"size":    packBatch(t, batchQuery{Data: make([]byte, MaxLookup)}),
	} {
		if _, err := decodeBatch(bad); err == nil {
			t.Errorf("%s: the limit is not kept", name)
		}
	}

	failed, answers := []bool{false, true, false}, [][]byte{[]byte("one"), batchFailure, {}}
	want, err := universalABI.Methods["query"].Outputs.Pack(failed, answers)
	must(t, err)
	if got := encodeBatchAnswer(failed, answers); !bytes.Equal(got, want) {
		t.Errorf("answer is %x, want %x", got, want)
	}
	if reason, err := abi.UnpackRevert(batchFailure); err != nil || reason != "unavailable" {
		t.Errorf("failure is %q, %v", reason, err)
	}
}

// A batch inside a batch inside a batch is not followed for ever.
func TestNestedBatch(t *testing.T) {
	g := newGateways(false)
	data := packBatch(t)
	for range 3 * maxBatchDepth {
		data = packBatch(t, batchQuery{Urls: []string{batchGatewayURL}, Data: data})
	}
	_, err := g.ask(t.Context(), &offchainLookup{urls: []string{batchGatewayURL}, callData: data}, 0)
	onlyKind(t, err, ErrNameUnavailable)
	// An empty batch, and one whose answers are not all missing, are answered.
	for _, ok := range [][]byte{
		packBatch(t),
		packBatch(t, batchQuery{Urls: []string{batchGatewayURL}, Data: packBatch(t)}, batchQuery{}),
	} {
		if _, err := g.ask(t.Context(), &offchainLookup{urls: []string{batchGatewayURL}, callData: ok}, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestUniversalError(t *testing.T) {
	for _, c := range []struct {
		data    []byte
		gateway bool
		want    error
	}{
		{selResolverNotFound[:], false, ErrNameNotFound},
		{selResolverNoCode[:], false, ErrNameNotFound},
		{selUnsupportedMethod[:], true, ErrNameNotFound},
		{selResolverError[:], false, ErrNameNotFound},
		{selResolverError[:], true, ErrNameUnavailable},
		{selError[:], false, ErrNameUnavailable},
		{nil, true, ErrNameUnavailable},
		{nil, false, ErrNameUnavailable},
	} {
		err := universalError("alice.eth", &revertError{data: c.data, gateway: c.gateway})
		onlyKind(t, err, c.want)
		if c.want == ErrNameNotFound && errors.Is(err, errNoResolver) != bytes.Equal(c.data, selResolverNotFound[:]) {
			t.Errorf("%x: %v", c.data, err)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(packBatch(f))
	f.Add(packBatch(f, batchQuery{common.Address{1}, []string{"https://a.example"}, []byte{1}}, batchQuery{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeBatch(b)
		if err != nil {
			return
		}
		if len(list) > MaxBatch {
			t.Fatalf("%d look-ups", len(list))
		}
		queries := make([]batchQuery, len(list))
		for i, l := range list {
			queries[i] = batchQuery{l.sender, l.urls, l.callData}
		}
		packed := packBatch(t, queries...)
		again, err := decodeBatch(packed)
		// Encoding can only fail to decode by growing beyond the limit, when fields
		// shared their bytes.
		if err != nil && len(packed) <= MaxLookup {
			t.Fatal(err)
		}
		if err == nil && len(again) != len(list) {
			t.Fatalf("%d look-ups became %d", len(list), len(again))
		}
		for i := range again {
			if !sameLookup(again[i], list[i]) {
				t.Fatalf("%+v became %+v", list[i], again[i])
			}
		}
	})
}
