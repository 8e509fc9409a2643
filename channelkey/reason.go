package channelkey

import (
	"errors"
	"fmt"
)

// Reason says why a key was refused. It is an error, so that a caller may ask
// errors.Is(err, channelkey.OtherChannel).
type Reason uint8

// The reasons. NotAuthentic is what a format that signs things without telling
// them leaves open: see Refusal.Suspects.
const (
	Malformed         Reason = iota + 1 // the text is not what the format says, from a certain byte on
	UnknownFormat                       // no known kind of key
	FormatForbidden                     // the policy does not admit this format
	StaticAppID                         // a bare App ID where a key is needed
	KeyForStaticApp                     // a key where the project has no certificate
	OtherApp                            // made for another App ID
	WrongCertificate                    // signed with another certificate, or altered
	NotAuthentic                        // the signature does not fit; the format cannot say what differs
	OtherChannel                        // made for another channel
	OtherUser                           // made for another uid or account
	OtherService                        // made for another service
	UnknownService                      // names a service that is not known, so the rest cannot be read
	BadChannel                          // the channel that is asked for breaks the naming rules
	BadUser                             // the user who asks breaks the naming rules
	WildcardForbidden                   // made for everybody, which the policy does not admit
	NotYetValid                         // made in the future
	EntryOver                           // too late to enter with it
	ServiceEnded                        // the time of service it grants is over
	PrivilegeMissing                    // does not grant what is asked for
	PrivilegeExpired                    // granted it until a time that has passed
	UnsafeSplice                        // 006: the signature fits other channels and users as well
	UnsafeCollision                     // dk1: the signature fits a dk2 or dk3 for another channel as well
	UnsafePadding                       // dk1-dk4: fits only with the App ID filled up with NUL
	AlreadyInside                       // the Gate: this user is inside
	Replayed                            // the Gate: this card is in use, or was replaced
	Revoked                             // the Gate: card, user, channel or certificate is revoked
	Superseded                          // the Gate: put out because the user entered again
	NotInside                           // the Gate: no such session
	Full                                // the Gate: a limit is reached
	ClockSetBack                        // the Gate: over by the time that was before its clock was set back, not by the one it shows

	reasonCount
)

// reasonRow holds a reason's name, its words, and the vendor's codes: of the
// native SDKs and of the old Web SDK. The same number means different things in
// the two. Zero: the vendor has no code for it.
type reasonRow struct {
	name        string
	words       string
	native, web int
	hint        string
}

var reasonRows = [reasonCount]reasonRow{
	Malformed:         {"malformed", "key is malformed", 110, 110, "compare the text with what the issuer wrote: a cut end and a changed character are the usual causes"},
	UnknownFormat:     {"unknown-format", "text is no known kind of key", 110, 110, "give the whole key, without quotes or line breaks"},
	FormatForbidden:   {"format-forbidden", "keys of this format are not admitted", 110, 110, "let the issuer use a newer format"},
	StaticAppID:       {"static-app-id", "a bare App ID was given where a key is needed", 110, 120, "fetch a key from the issuing server"},
	KeyForStaticApp:   {"key-for-static-app", "a key was given but the project has no certificate", 110, 119, "enable the certificate, or join with the App ID alone"},
	OtherApp:          {"other-app", "key is for another App ID", 110, 110, "compare the App IDs of issuer and verifier, including upper and lower case"},
	WrongCertificate:  {"wrong-certificate", "key is not signed with this certificate, or was altered", 110, 110, "compare the certificates of issuer and verifier; during a rotation give both"},
	NotAuthentic:      {"not-authentic", "signature does not fit", 110, 110, "compare certificate, channel and uid of issuer and verifier: the format signs them together"},
	OtherChannel:      {"other-channel", "key is for another channel", 110, 110, "fetch a key for this channel"},
	OtherUser:         {"other-user", "key is for another user", 110, 110, "fetch a key for this uid; a number and a text account are different users"},
	OtherService:      {"other-service", "key is for another service", 110, 110, "fetch a key for this service"},
	UnknownService:    {"unknown-service", "key names an unknown service", 110, 110, "the issuer is newer than this verifier: update it"},
	BadChannel:        {"bad-channel", "channel name breaks the rules", 102, 0, "use 1 to 63 letters, digits, spaces and !#$%&()+-:;<=.>?@[]^_{}|~,"},
	BadUser:           {"bad-user", "uid or account breaks the rules", 121, 117, "use a uid from 1 to 4294967295 or an account of at most 255 characters"},
	WildcardForbidden: {"wildcard-forbidden", "key is for everybody, which is not admitted", 110, 110, "fetch a key for this uid"},
	NotYetValid:       {"not-yet-valid", "key is not valid yet", 110, 110, "set the clocks of issuer and verifier, or allow some clock skew"},
	EntryOver:         {"entry-over", "time to enter with this key is over", 109, 109, "fetch a new key"},
	ServiceEnded:      {"service-ended", "time of service is over", 109, 118, "fetch a new key with a later service expiry"},
	PrivilegeMissing:  {"privilege-missing", "key does not grant this", 110, 110, "fetch a key with this privilege"},
	PrivilegeExpired:  {"privilege-expired", "key granted this until a time that has passed", 109, 118, "fetch a new key"},
	UnsafeSplice:      {"unsafe-splice", "key of format 006 whose signature fits other channels too", 110, 110, "use 007, or channel names that end in no digit and numeric uids"},
	UnsafeCollision:   {"unsafe-collision", "dk1 whose channel name reads as channel, uid and expiry of a dk2", 110, 110, "use dk4 or later, or a channel name that does not end in twenty digits"},
	UnsafePadding:     {"unsafe-padding", "key that fits only with the App ID filled up with NUL", 110, 110, "use an App ID of 32 hexadecimal digits"},
	AlreadyInside:     {"already-inside", "this user is inside", 0, 0, "leave first"},
	Replayed:          {"replayed", "this card is in use or was replaced", 110, 110, "fetch a new key"},
	Revoked:           {"revoked", "card, user, channel or certificate is revoked", 123, 0, "ask the operator"},
	Superseded:        {"superseded", "the user entered again", 0, 0, "one session a user is admitted"},
	NotInside:         {"not-inside", "no such session is inside", 0, 0, "enter first"},
	Full:              {"full", "a limit of the gate is reached", 0, 0, "try again later, or raise the limit"},
	ClockSetBack:      {"clock-set-back", "the door's clock was set back: whether the key is over cannot be told", 0, 0, "try another server; whoever runs this one has to look at its clock, and start it anew when it is right"},
}

// String returns the reason's name, such as "other-channel".
func (r Reason) String() string {
	if r == 0 || r >= reasonCount {
		return "unknown"
	}
	return reasonRows[r].name
}

// Error returns the reason in words.
func (r Reason) Error() string {
	if r == 0 || r >= reasonCount {
		return "channelkey: unknown reason"
	}
	return "channelkey: " + reasonRows[r].words
}

// Unsafe reports whether the signature fits but the format does not bind it to
// what is asked for.
func (r Reason) Unsafe() bool {
	return r == UnsafeSplice || r == UnsafeCollision || r == UnsafePadding
}

// NativeCode returns the error code that the vendor's native SDKs report for the
// reason (109 token expired, 110 invalid token, …), or 0.
func (r Reason) NativeCode() int {
	if r >= reasonCount {
		return 0
	}
	return reasonRows[r].native
}

// WebCode returns the error code that the vendor's old Web SDK reports for the
// reason (109 dynamic key timeout, 110 no authorized, 117 invalid uid, 118 dynamic
// key expired, 119 static use dynamic key, 120 dynamic use static key), or 0.
func (r Reason) WebCode() int {
	if r >= reasonCount {
		return 0
	}
	return reasonRows[r].web
}

// Hint says what to do about it.
func (r Reason) Hint() string {
	if r >= reasonCount {
		return ""
	}
	return reasonRows[r].hint
}

// Reasons returns all reasons, for tables.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := Malformed; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// Refusal is the error of Parse, Verify and the Gate. It holds neither certificate
// nor key text. errors.Is compares it with a Reason.
type Refusal struct {
	reason Reason
	format Format
	at     int // Malformed: byte, counted from 0; otherwise -1
	inside bool
	detail string // a constant
}

// Reason returns the one reason of the refusal.
func (r *Refusal) Reason() Reason { return r.reason }

// Format returns the format that the text was taken for; zero if for none.
func (r *Refusal) Format() Format { return r.format }

// Byte returns where a malformed key stops making sense, counted from 0, and
// whether that counts the bytes of the decoded payload (dk5, 006, 007) instead of
// those of the text. It is -1 for other reasons.
func (r *Refusal) Byte() (at int, payload bool) { return r.at, r.inside }

// Suspects returns what may differ if the reason is NotAuthentic: the things that
// the format signs but does not tell.
func (r *Refusal) Suspects() []Reason {
	if r.reason != NotAuthentic {
		return nil
	}
	s := []Reason{WrongCertificate}
	hidden := formatRows[r.format].signed &^ formatRows[r.format].told
	for _, f := range []struct {
		field  field
		reason Reason
	}{{fieldChannel, OtherChannel}, {fieldUser, OtherUser}, {fieldService, OtherService}} {
		if hidden&f.field != 0 {
			s = append(s, f.reason)
		}
	}
	return s
}

// Error describes the refusal in one line.
func (r *Refusal) Error() string {
	words := r.reason.Error()
	if r.format != 0 {
		words += " (" + r.format.String() + ")"
	}
	if r.reason == Malformed {
		where := "byte"
		if r.inside {
			where = "payload byte"
		}
		words += fmt.Sprintf(" at %s %d", where, r.at)
	}
	if r.detail != "" {
		words += ": " + r.detail
	}
	if suspects := r.Suspects(); len(suspects) > 0 {
		words += ": altered, or one of"
		for i, s := range suspects {
			if i > 0 {
				words += ","
			}
			words += " " + s.String()
		}
		words += ", which this format cannot tell apart"
	}
	return words
}

// Is makes errors.Is compare a refusal with a reason.
func (r *Refusal) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason == r.reason
}

// ReasonOf returns the reason in an error of this package, or 0.
func ReasonOf(err error) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.reason
	}
	var reason Reason
	errors.As(err, &reason)
	return reason
}

// refusals holds every refusal that carries no place, so that refusing does not
// allocate.
var refusals = func() (t [reasonCount][formatCount]Refusal) {
	for r := range t {
		for f := range t[r] {
			t[r][f] = Refusal{reason: Reason(r), format: Format(f), at: -1}
		}
	}
	return t
}()

func refuse(r Reason, f Format) error { return &refusals[r][f] }

// malformed refuses a text; detail is a constant that never holds what was read.
func malformed(f Format, at int, detail string) error {
	return &Refusal{reason: Malformed, format: f, at: at, detail: detail}
}

// malformedPayload refuses a decoded payload.
func malformedPayload(f Format, at int, detail string) error {
	return &Refusal{reason: Malformed, format: f, at: at, inside: true, detail: detail}
}
