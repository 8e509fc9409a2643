package channelkey

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"testing"
	"time"
)

// The vendor's public test project, and a moment in its tests.
const (
	testID    = "970CA35de60c44645bbae8a215061b33"
	testCert  = "5CFd2fd1755d40ecb72977518be15d3b"
	otherCert = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	testTime  = 1_700_000_000
)

func testApp() App { return App{ID: testID, Primary: NewCertificate([]byte(testCert))} }

func newIssuer(t testing.TB, app App, l Legacy) *Issuer {
	t.Helper()
	i, err := NewIssuer(app, l)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newVerifier(t testing.TB, app App, p Policy) *Verifier {
	t.Helper()
	v, err := NewVerifier(app, p)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t testing.TB, c Card) string {
	t.Helper()
	return mintWith(t, Legacy{}, c)
}

func mintWith(t testing.TB, l Legacy, c Card) string {
	t.Helper()
	token, err := newIssuer(t, testApp(), l).Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func at(seconds int64) time.Time { return time.Unix(testTime+seconds, 0) }

// sample is a good card of each format with a claim that it satisfies, made at
// testTime, service ending an hour later.
type sample struct {
	card  Card
	claim Claims
}

func samples() []sample {
	media := Claims{Channel: "room", User: UID(123), At: at(10)}
	dk := Card{Channel: "room", Issued: testTime, Random: 7, Expires: testTime + 3600, User: UID(123)}
	with := func(f Format, change func(*Card)) Card {
		c := dk
		c.Format = f
		change(&c)
		return c
	}
	recording := media
	recording.Service = Recording
	inChannel := media
	inChannel.Service = InChannel
	rtm := Claims{User: "alice", Service: RTM, At: at(10)}
	join := []Grant006{{JoinChannel, testTime + 3600}, {PublishAudio, testTime + 600}}
	joins := []PrivilegeLife{{JoinChannel, 3600}, {PublishAudio, 600}}
	return []sample{
		{with(DK1, func(c *Card) { c.User, c.Expires = "", 0 }), media},
		{with(DK2, func(c *Card) {}), media},
		{with(DK3, func(c *Card) {}), media},
		{with(DK4, func(c *Card) {}), media},
		{with(DK4, func(c *Card) { c.Service = Recording }), recording},
		{with(DK5, func(c *Card) {}), media},
		{with(DK5, func(c *Card) { c.Service, c.Extra = InChannel, []Extra{{AllowUpload, "3"}} }), inChannel},
		{Card{Format: Signaling, User: "alice", Expires: testTime + 3600}, rtm},
		{Card{Format: V006, Channel: "room", User: UID(123), Issued: testTime + day, Random: 7, Privileges: join}, media},
		{Card{Format: V006, Channel: "alice", Issued: testTime + day, Random: 7, Service: RTM,
			Privileges: []Grant006{{LoginRTM006, testTime + 3600}}}, rtm},
		{Card{Format: V007, Issued: testTime, Expires: 7200, Random: 7,
			Services: []Grant007{{Service: Media, Channel: "room", User: UID(123), Privileges: joins}}}, media},
		{Card{Format: V007, Issued: testTime, Expires: 7200, Random: 7,
			Services: []Grant007{{Service: RTM, User: "alice", Privileges: []PrivilegeLife{{LoginRTM, 3600}}}}}, rtm},
	}
}

// tell007 packs a payload as a 007 text.
func tell007(payload []byte) string {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	z.Write(payload)
	z.Close()
	return prefix007 + base64.StdEncoding.EncodeToString(packed.Bytes())
}

// unpack007 returns the payload of a 007.
func unpack007(t testing.TB, token string) []byte {
	t.Helper()
	payload, err := payload007(token)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(payload)
}
