package channelkey

import "strconv"

// The names of the vendor's codes that reasons map to. One number means different
// things in its native SDKs and in its old Web SDK.
var (
	nativeNames = map[int]string{
		102: "ERR_INVALID_CHANNEL_NAME",
		109: "ERR_TOKEN_EXPIRED",
		110: "ERR_INVALID_TOKEN",
		121: "ERR_INVALID_USER_ID",
		123: "ERR_CLIENT_IS_BANNED_BY_SERVER",
	}
	webNames = map[int]string{
		109: "ERR_DYNAMIC_KEY_TIMEOUT",
		110: "ERR_NO_AUTHORIZED",
		117: "ERR_INVALID_UID",
		118: "ERR_DYNAMIC_KEY_EXPIRED",
		119: "ERR_STATIC_USE_DYNAMIC_KEY",
		120: "ERR_DYNAMIC_USE_STATIC_KEY",
	}
)

// NativeName returns the vendor's name of [Reason.NativeCode], or "".
func (r Reason) NativeName() string { return nativeNames[r.NativeCode()] }

// WebName returns the vendor's name of [Reason.WebCode], or "".
func (r Reason) WebName() string { return webNames[r.WebCode()] }

// Codes returns both codes of a reason in words, for a person.
func (r Reason) Codes() string {
	code := func(n int, name string) string {
		if n == 0 {
			return "none"
		}
		return strconv.Itoa(n) + " " + name
	}
	return "native " + code(r.NativeCode(), r.NativeName()) + ", old Web " + code(r.WebCode(), r.WebName())
}
