package store

// Limits of what is read from the files of a profile, all of which another hand
// may have written.
const (
	// MaxScopeName is the longest name of a scope, in bytes.
	MaxScopeName = 255
	// maxKeyringFile bounds the keyring, in bytes: about 200000 scopes.
	maxKeyringFile = 64 << 20
	// minKeyFile and maxKeyFile bound a key file, in bytes.
	minKeyFile = 32
	maxKeyFile = 4096
	// maxKDFMemory (KiB), maxKDFTime and maxKDFThreads bound the argon2id
	// parameters a header may ask for: opening a foreign profile must not take
	// the machine down.
	maxKDFMemory  = 1 << 20
	maxKDFTime    = 64
	maxKDFThreads = 64
	// maxReaders is the number of View transactions that run at once; more wait.
	maxReaders = 4
	// maxStatements is the number of compiled statements a connection keeps.
	maxStatements = 256
)
