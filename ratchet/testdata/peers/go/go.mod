module peers

go 1.26.0

require github.com/status-im/doubleratchet v3.0.0+incompatible

require (
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
)
