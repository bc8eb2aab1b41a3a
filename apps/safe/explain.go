package safe

import (
	"errors"
	"fmt"
)

// ErrRefused is what an *[ExplainedError] is.
var ErrRefused = errors.New("safe: the Safe refuses")

// ExplainedError is a Safe's refusal, with what it means for a signer.
type ExplainedError struct {
	Code    string // of the contract, such as "GS026"; empty for another reason
	Meaning string
	Remedy  string
	err     error
}

func (e *ExplainedError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("safe: the Safe refuses: %s (%v)", e.Meaning, e.err)
	}
	return fmt.Sprintf("safe: the Safe refuses with %s: %s; %s", e.Code, e.Meaning, e.Remedy)
}

// Unwrap returns the *[RevertError].
func (e *ExplainedError) Unwrap() error { return e.err }

// Is reports whether target is [ErrRefused].
func (e *ExplainedError) Is(target error) bool { return target == ErrRefused }

// codes are the errors of a Safe that a signer can meet, by the contracts'
// docs/error_codes.md: what they mean, and what to do.
var codes = map[string][2]string{
	"GS000": {"the code that was to run while the Safe was set up has failed", "look at what the creation delegates to"},
	"GS001": {"the Safe has not been set up", "is this the right address, or a singleton that nobody owns?"},
	"GS002": {"the code that was to run while the Safe was set up is not there", "deploy it first"},
	"GS010": {"too little gas is left for the transaction's safeTxGas", "execute with a higher gas limit, or propose it again with a lower safeTxGas"},
	"GS011": {"the refund in ether cannot be paid", "send ether to the Safe, or propose it again with gasPrice 0"},
	"GS012": {"the refund in tokens cannot be paid", "send tokens to the Safe, or propose it again with gasPrice 0"},
	"GS013": {"the transaction's own call fails, and neither safeTxGas nor gasPrice is set", "simulate it: what it calls refuses it now; it can be executed when that has changed"},
	"GS020": {"there are fewer signatures than the threshold asks for", "let more owners sign; the threshold may have been raised since"},
	"GS021": {"a contract's signature points into the fixed part", "import that owner's signature again"},
	"GS022": {"a contract's signature points behind the end", "import that owner's signature again"},
	"GS023": {"a contract's signature is longer than what is there", "import that owner's signature again"},
	"GS024": {"a contract that is an owner does not accept its signature", "have that contract's own signers sign again"},
	"GS025": {"an owner has not approved the hash on the chain", "that owner calls approveHash, executes it himself, or signs"},
	"GS026": {"a signature is not of an owner, is there twice, or is over another hash", "compare the nonce and the owners: a transaction that was executed meanwhile changes the hash, and a removed owner's signature counts no more"},
	"GS027": {"a contract's signature is checked without what was hashed", "hand checkSignatures the hash and its pre-image"},
	"GS030": {"only an owner can approve a hash", "send it from an owner's account"},
	"GS031": {"only the Safe itself can do this", "propose it as a transaction of the Safe to itself"},
	"GS100": {"modules were set up already", "nothing is to be done"},
	"GS101": {"a module's address cannot be zero or one", "propose it again with the module's address"},
	"GS102": {"the module is enabled already", "nothing is to be done"},
	"GS103": {"the module before it in the list is another", "propose it again: the list has changed"},
	"GS104": {"the caller is not a module of the Safe", "enable it first"},
	"GS105": {"the page of modules starts nowhere", "begin with the first"},
	"GS106": {"a page of modules must have a size", "ask for one at least"},
	"GS200": {"the Safe has been set up already", "nothing is to be done"},
	"GS201": {"the threshold would exceed the number of owners", "propose it again with a lower threshold"},
	"GS202": {"the threshold must be one at least", "propose it again with a threshold"},
	"GS203": {"an owner's address cannot be zero, one, or the Safe itself", "propose it again with the owner's address"},
	"GS204": {"the address is an owner already", "nothing is to be done"},
	"GS205": {"the owner before it in the list is another", "propose it again: the list has changed"},
	"GS300": {"the guard does not offer what a guard must", "propose it again with a contract that is a guard"},
	"GS301": {"the module guard does not offer what a module guard must", "propose it again with a contract that is a module guard"},
	"GS400": {"the fallback handler cannot be the Safe itself", "propose it again with another handler"},
}

// Explain makes an *[ExplainedError] of a contract's refusal, and returns any
// other error as it is.
func Explain(err error) error {
	var r *RevertError
	if !errors.As(err, &r) {
		return err
	}
	if known, ok := codes[r.Reason]; ok {
		return &ExplainedError{r.Reason, known[0], known[1], r}
	}
	return &ExplainedError{Meaning: "a contract it calls, or its guard, does not allow it", err: r}
}
