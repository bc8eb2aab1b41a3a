package suite

import (
	"testing"
)

// BenchmarkSuite measures what a member does with a suite: a KEM key made, a
// path secret sealed and opened, a kilobyte signed and verified.
func BenchmarkSuite(b *testing.B) {
	for _, s := range All() {
		k, err := s.GenerateHPKEKey()
		if err != nil {
			b.Fatal(err)
		}
		signer, err := s.GenerateSigningKey()
		if err != nil {
			b.Fatal(err)
		}
		public, context, content := k.Public(), make([]byte, 200), make([]byte, 1024)
		secretBytes := make([]byte, s.HashSize())
		enc, ct, err := s.EncryptWithLabel(public, "UpdatePathNode", context, secretBytes)
		if err != nil {
			b.Fatal(err)
		}
		sig, err := s.SignWithLabel(signer, "FramedContentTBS", content)
		if err != nil {
			b.Fatal(err)
		}
		for _, op := range []struct {
			name string
			run  func() error
		}{
			{"generate", func() error { _, err := s.GenerateHPKEKey(); return err }},
			{"seal", func() error {
				_, _, err := s.EncryptWithLabel(public, "UpdatePathNode", context, secretBytes)
				return err
			}},
			{"open", func() error { _, err := s.DecryptWithLabel(k, "UpdatePathNode", context, enc, ct); return err }},
			{"sign", func() error { _, err := s.SignWithLabel(signer, "FramedContentTBS", content); return err }},
			{"verify", func() error { return s.VerifyWithLabel(signer.Public(), "FramedContentTBS", content, sig) }},
		} {
			b.Run(s.String()+"/"+op.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := op.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
