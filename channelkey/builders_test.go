package channelkey

import (
	"encoding/json"
	"testing"
	"time"
)

// TestBuilders compares what the builders describe with the vendor's keys for the
// same input.
func TestBuilders(t *testing.T) {
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(vectorFile(t, "channelkey.json"), &file); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for _, v := range file.Vectors {
		tokens[v.ID] = *v.Token
	}
	const channel = "7d72365eb983485397e3e3f9d460bdda"
	uid := UID(2882341273)
	now, life := time.Unix(1111111, 0), 600*time.Second
	resources := []Resource{{0, []Right{{0, []string{"message-a", "message-b"}}}}, {1, []Right{{1, []string{"stream-a"}}}}, {4, []Right{{0, []string{"user-a"}}}}}
	streaming := MessagingWith("test_user", resources, now, life)
	for _, s := range []Service{FCDN, Streaming} {
		streaming.Services = append(streaming.Services, Grant007{Service: s, Channel: channel, User: uid, Privileges: []PrivilegeLife{{1, 600}, {2, 600}}})
	}
	for id, c := range map[string]Card{
		"007-277": Subscriber(channel, uid, now, life),
		"007-278": Subscriber(channel, Anybody, now, life),
		"007-280": Publisher(channel, uid, now, life),
		"007-298": Publisher(channel, uid, now, life).WithRTM(uid),
		"007-288": Messaging("test_user", now, life),
		"007-291": ChatOf(uid, now, life),
		"007-292": ChatOfApp(now, life),
		"007-290": Acceleration(now),
		"007-026": ClassroomUser("123", uid, 1, now, life),
		"007-295": ClassroomAccount("u-1", now, life),
		"007-036": ClassroomApp(now, life),
		"007-025": streaming,
		"006-267": Publisher006(channel, uid, now.Add(-day*time.Second), time.Unix(1446455471, 0)),
		"006-263": Subscriber006(channel, uid, now.Add(-day*time.Second), time.Unix(1446455471, 0)),
		"006-268": Messaging006("test_user", now.Add(-day*time.Second), time.Unix(1446455471, 0)),
	} {
		want := tokens[id]
		if want == "" {
			t.Errorf("there is no vector %s", id)
			continue
		}
		if c.Random == 0 {
			t.Errorf("%s: no salt was drawn", id)
		}
		c.Random = 1
		got := mint(t, c)
		if c.Format == V007 {
			got, want = string(unpack007(t, got)), string(unpack007(t, want))
		}
		if got != want {
			t.Errorf("%s: the builder describes another key", id)
		}
	}
	with := MediaWith("ABC", UID(123), time.Unix(1700000000, 0), day*time.Second,
		PrivilegeLife{JoinChannel, 0}, PrivilegeLife{PublishAudio, 600}, PrivilegeLife{PublishVideo, 1200}, PrivilegeLife{PublishData, 4294967295})
	with.Random = 99999999
	if string(unpack007(t, mint(t, with))) != string(unpack007(t, tokens["007-281"])) {
		t.Error("007-281: the builder describes another key")
	}
	both := Subscriber(channel, uid, now, life).WithRTM2("test_user", resources)
	if got := both.Services[1]; got.Service != RTM2 || got.User != "test_user" || len(got.Resources) != 3 || got.Privileges[0] != (PrivilegeLife{LoginRTM, 600}) {
		t.Errorf("with RTM2: %+v", got)
	}
	with006 := Media006With(channel, uid, now.Add(-day*time.Second), Grant006{JoinChannel, 1446455471}, Grant006{PublishAudio, 1446455471}, Grant006{PublishVideo, 1446455471}, Grant006{PublishData, 1446455471})
	if with006.Random = 1; mint(t, with006) != tokens["006-267"] {
		t.Error("006-267: the builder describes another key")
	}
	simple := Simple006(channel, UID(7), SimplePublisher, now.Add(-day*time.Second))
	for i := range simple.Privileges {
		if p := &simple.Privileges[i]; p.Privilege <= 4 {
			p.Expires = 1446455471
		}
	}
	simple.Random = 1
	if mint(t, simple) != tokens["006-271"] {
		t.Error("006-271: the builder describes another key")
	}
}
