package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ethereum/go-ethereum/rpc"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/apps/safe"
	safeservice "github.com/parley-im/parley/apps/safe/service"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

// Exit codes, which "parley help exit-codes" explains.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 4
	exitInUse       = 5
	exitPassphrase  = 6
	exitDamaged     = 7
	exitRefused     = 8
)

// exitCodes is the text of "parley help exit-codes".
const exitCodes = `Every command ends with one of these codes:

  0  it is done (a message that is queued counts: what is said of it tells)
  1  it failed in a way that has no code of its own
  2  usage: a flag, an address, a name or a text is not what it should be
  3  not found: the name does not resolve; no such group, message, file or profile
  4  unavailable: the RPC endpoint, the network, or the port; trying later may help
  5  the profile is in use by another process
  6  wrong passphrase or key file, of the profile or of the keystore
  7  damaged: the profile, or the keystore file
  8  refused: not your right, not in the group, a changed name, a second profile,
     a file that would be written over

With --json an error is one line on stderr,

  {"error":{"code":"name_not_found","number":302,"exit":3,"message":"…"}}

and code, number and exit stay the same from version to version.
`

// fault is one kind of error that callers can tell from others. The hundreds
// of its number are the exit code of the program; the number itself is the
// error code in JSON-RPC.
type fault struct {
	number int
	code   string
	err    error // what errors.Is finds
}

func (f fault) exit() int { return f.number / 100 }

// Errors of this program.
var (
	errUsage      = errors.New("usage")
	errPinChanged = errors.New("name leads to another address than before")
	errDaemonGone = errors.New("the daemon has stopped")
	errDanger     = errors.New("dangerous")
	errSettled    = errors.New("settled already")
	errUnsigned   = errors.New("signatures are missing")
)

// faults is every kind of error, the special before the general. Numbers and
// codes are a promise: they are added, not changed.
var faults = []fault{
	{501, "in_use", store.ErrLocked},
	{601, "wrong_passphrase", store.ErrPassphrase},
	{602, "wrong_keystore_passphrase", identity.ErrPassphrase},
	{301, "no_profile", store.ErrNotFound},
	{810, "profile_exists", store.ErrExists},
	{811, "newer_version", store.ErrVersion},
	{701, "profile_damaged", store.ErrCorrupt},
	{102, "disk_full", store.ErrFull},
	{702, "bad_keystore", identity.ErrKeystore},
	{207, "bad_key", identity.ErrHexKey},

	{202, "bad_checksum", identity.ErrAddressChecksum},
	{201, "bad_address", identity.ErrAddress},
	{201, "bad_address", identity.ErrAccount},
	{203, "bad_name", identity.ErrNameInvalid},
	{302, "name_not_found", identity.ErrNameNotFound},
	{401, "names_unavailable", identity.ErrNameUnavailable},
	{402, "no_resolver", parley.ErrNoResolver},
	{403, "no_record", parley.ErrNoRecord},
	{404, "cannot_listen", transport.ErrListen},
	{409, "nobody", parley.ErrNobody},
	{208, "bad_network", transport.ErrNetwork},
	{209, "bad_peer_address", transport.ErrAddress},
	{210, "bad_rpc_url", identity.ErrRPCURL},
	{807, "name_changed", errPinChanged},
	{823, "safety_mismatch", identity.ErrSafetyMismatch},
	{809, "log_conflict", parley.ErrLog},

	{801, "self", parley.ErrSelf},
	{802, "not_admin", parley.ErrNotAdmin},
	{803, "not_in_group", parley.ErrNotInGroup},
	{804, "already_member", parley.ErrMember},
	{805, "not_member", parley.ErrNotMember},
	{806, "creator_leaves", parley.ErrCreatorLeaves},
	{808, "idempotency", parley.ErrIdempotency},
	{812, "restored", parley.ErrRestored},
	{303, "no_group", parley.ErrUnknownGroup},
	{304, "no_message", parley.ErrUnknownMessage},
	{204, "bad_group_name", parley.ErrGroupName},
	{205, "too_large", parley.ErrTooLarge},
	{206, "bad_content", parley.ErrContent},
	{211, "bad_app_data", parley.ErrAppData},

	{220, "not_loopback", safeservice.ErrNotLoopback},
	{212, "bad_signature", safe.ErrSignature},
	{213, "bad_signatures", safe.ErrSignatures},
	{214, "bad_item", safe.ErrItem},
	{215, "bad_export", safe.ErrExport},
	{216, "bad_message", safe.ErrMessage},
	{219, "safe_version", safe.ErrVersion},
	{217, "bad_transaction", safe.ErrHashFile},
	{218, "bad_batch", safe.ErrBuilder},
	{306, "no_safe", safe.ErrNotSafe},
	{307, "no_room", safe.ErrNoRoom},
	{308, "no_transaction", safe.ErrUnknownTransaction},
	{407, "chain_unavailable", safe.ErrChain},
	{408, "wrong_chain", safe.ErrChainID},
	{814, "not_owner", safe.ErrNotOwner},
	{815, "strangers", safe.ErrStrangers},
	{816, "other_safe", safe.ErrOtherSafe},
	{817, "safe_refuses", safe.ErrRefused},
	{818, "would_fail", safe.ErrWouldFail},
	{819, "dangerous", errDanger},
	{820, "settled", errSettled},
	{821, "unsigned", errUnsigned},
	{822, "lie", safe.ErrLie},

	{406, "daemon_gone", errDaemonGone},
	{101, "closed", parley.ErrClosed},
	{405, "timeout", context.DeadlineExceeded},
	{103, "interrupted", context.Canceled},
	{305, "no_file", fs.ErrNotExist},
	{813, "file_exists", fs.ErrExist},
	{200, "usage", errUsage},
}

// failed is the fault of an error that is of no other kind.
var failed = fault{100, "failed", nil}

// faultOf finds what kind of error err is.
func faultOf(err error) fault {
	var changed *parley.PinChangedError
	if errors.As(err, &changed) {
		err = errPinChanged
	}
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return f
		}
	}
	var coded rpc.Error
	if errors.As(err, &coded) && -32768 <= coded.ErrorCode() && coded.ErrorCode() <= -32600 {
		return fault{200, "usage", errUsage} // malformed JSON-RPC
	}
	return failed
}

// faultNumbered finds a fault by its number in JSON-RPC.
func faultNumbered(n int) (fault, bool) {
	for _, f := range faults {
		if f.number == n {
			return f, true
		}
	}
	return failed, n == failed.number
}

// usagef returns an error of what a person has typed.
func usagef(format string, args ...any) error {
	return &messageError{fmt.Sprintf(format, args...), errUsage}
}

// messageError is an error with a text of its own, of the kind of another.
type messageError struct {
	text string
	kind error // or nil
}

func (e *messageError) Error() string { return e.text }

// Unwrap returns the kind.
func (e *messageError) Unwrap() error { return e.kind }

// message is what a person is told of an error: without the names of packages,
// on one line, and with nothing in it that moves a terminal's cursor.
func message(err error) string {
	s := err.Error()
	var name *identity.NameError
	var peer *parley.PeerError
	switch {
	case errors.As(err, &name):
		s = name.Error() // not preceded by the name as it was typed: it may look like another
	case errors.As(err, &peer):
		if rest, ok := strings.CutPrefix(s, peer.Peer+": "); ok {
			s = peer.Peer + ": " + strings.Replace(rest, ": "+peer.Peer+": ", ": ", 1) // once is enough
		}
	case faultOf(err).code == "interrupted":
		s = "interrupted"
	}
	for _, pkg := range []string{"parley", "identity", "store", "transport", "groups", "ratchet"} {
		s = strings.TrimPrefix(s, pkg+": ")
		s = strings.ReplaceAll(s, ": "+pkg+": ", ": ")
		s = strings.ReplaceAll(s, "\n"+pkg+": ", "\n")
	}
	return printable(strings.ReplaceAll(s, "\n", "; "))
}

// wireFault is an error in JSON: of the command line, and as the data of an
// error in JSON-RPC.
type wireFault struct {
	Code    string `json:"code"`
	Number  int    `json:"number"`
	Exit    int    `json:"exit"`
	Message string `json:"message"`
}

func wireFaultOf(err error) wireFault {
	f := faultOf(err)
	return wireFault{Code: f.code, Number: f.number, Exit: f.exit(), Message: message(err)}
}

// errorLine is the line of JSON that says err.
func errorLine(err error) []byte {
	b, _ := json.Marshal(struct {
		Error wireFault `json:"error"`
	}{wireFaultOf(err)})
	return escapeJSON(b)
}

// rpcError is an error on its way out of the daemon: an rpc.Error and
// rpc.DataError.
type rpcError struct{ wireFault }

func (e rpcError) Error() string  { return e.Message }
func (e rpcError) ErrorCode() int { return e.Number }

// ErrorData returns what else there is in the error object.
func (e rpcError) ErrorData() any { return e.wireFault }

// outgoing makes an error of the client one of JSON-RPC.
func outgoing(err error) error {
	if err == nil {
		return nil
	}
	return rpcError{wireFaultOf(err)}
}

// incoming makes an error of JSON-RPC the error it was in the daemon, as far as
// errors.Is can tell.
func incoming(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var coded rpc.Error
	if !errors.As(err, &coded) {
		return &messageError{errDaemonGone.Error() + ": " + err.Error(), errDaemonGone}
	}
	if f, ok := faultNumbered(coded.ErrorCode()); ok {
		return &messageError{coded.Error(), f.err}
	}
	return &messageError{err.Error(), faultOf(err).err}
}
