package mlsclient

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	comment = regexp.MustCompile(`(?s)//[^\n]*|/\*.*?\*/`)
	block   = regexp.MustCompile(`(?s)\bmessage\s+(\w+)\s*\{(.*?)\}`)
	field   = regexp.MustCompile(`(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;`)
	call    = regexp.MustCompile(`\brpc\s+(\w+)\s*\(\s*(\w+)\s*\)\s*returns\s*\(\s*(\w+)\s*\)`)
)

// The service is, on the wire, the one that the runner calls: same names,
// numbers and types.
func TestWireIsUpstreams(t *testing.T) {
	dir := os.Getenv("MLS_IMPLEMENTATIONS")
	if dir == "" {
		t.Skip("MLS_IMPLEMENTATIONS names no checkout of mlswg/mls-implementations")
	}
	text, err := os.ReadFile(filepath.Join(dir, "interop", "proto", "mls_client.proto"))
	if err != nil {
		t.Fatal(err)
	}
	source := comment.ReplaceAllString(string(text), "")
	if !strings.Contains(source, "package "+string(File_mls_client_proto.Package())+";") {
		t.Fatal("another package")
	}
	service := File_mls_client_proto.Services().ByName("MLSClient")
	calls := call.FindAllStringSubmatch(source, -1)
	if len(calls) == 0 || len(calls) != service.Methods().Len() {
		t.Fatalf("%d calls, ours are %d", len(calls), service.Methods().Len())
	}
	seen := make(map[string]bool)
	for _, c := range calls {
		m := service.Methods().ByName(protoreflect.Name(c[1]))
		if m == nil || string(m.Input().Name()) != c[2] || string(m.Output().Name()) != c[3] {
			t.Errorf("rpc %s(%s) returns (%s): ours is %v", c[1], c[2], c[3], m)
		}
		seen[c[2]], seen[c[3]] = true, true
	}
	messages := make(map[string]map[string]string) // fields by number, by message
	for _, b := range block.FindAllStringSubmatch(source, -1) {
		messages[b[1]] = make(map[string]string)
		for _, f := range field.FindAllStringSubmatch(b[2], -1) {
			messages[b[1]][f[4]] = strings.TrimSpace(f[1]) + " " + f[2] + " " + f[3]
		}
	}
	all := File_mls_client_proto.Messages()
	for i := range all.Len() {
		m := all.Get(i)
		theirs, ok := messages[string(m.Name())]
		if !ok || len(theirs) != m.Fields().Len() {
			t.Errorf("%s: %d fields, theirs has %v", m.Name(), m.Fields().Len(), theirs)
			continue
		}
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			kind := f.Kind().String()
			if f.Kind() == protoreflect.MessageKind {
				kind = string(f.Message().Name())
			}
			repeated := ""
			if f.IsList() {
				repeated = "repeated"
			}
			if ours := repeated + " " + kind + " " + string(f.Name()); theirs[fmt.Sprint(f.Number())] != ours {
				t.Errorf("%s %d: %q, theirs is %q", m.Name(), f.Number(), ours, theirs[fmt.Sprint(f.Number())])
			}
		}
		delete(seen, string(m.Name()))
	}
	if len(seen) > 0 {
		t.Errorf("calls use messages that we do not have: %v", seen)
	}
}
