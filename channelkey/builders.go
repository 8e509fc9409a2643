package channelkey

import (
	"crypto/fips140"
	"crypto/md5"
	"encoding/hex"
	"slices"
	"time"
)

// The functions below describe the 007 and 006 cards that the vendor's token
// builders write: with the privileges of a role, all of them for the life of the
// key. They draw the salt. MediaWith and Media006With are the builders' "with
// privilege" forms, whose privileges have lives of their own.

// The roles of a media channel.
var (
	publisher  = []Privilege{JoinChannel, PublishAudio, PublishVideo, PublishData}
	subscriber = publisher[:1]
)

// seconds returns a duration in whole seconds, within 32 bits.
func seconds(life time.Duration) uint32 {
	return uint32(min(max(life/time.Second, 0), 1<<32-1))
}

func unix(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), 1<<32-1)) }

// new007 returns a 007 of the services, each privilege for the life of the key.
func new007(now time.Time, life time.Duration, services ...Grant007) Card {
	for i := range services {
		for n := range services[i].Privileges {
			services[i].Privileges[n].Seconds = seconds(life)
		}
	}
	return Card{Format: V007, Issued: unix(now), Expires: seconds(life), Random: NewRandom(), Services: services}
}

// granted returns the privileges, as long as the key.
func granted(all ...Privilege) []PrivilegeLife {
	lives := make([]PrivilegeLife, len(all))
	for i, p := range all {
		lives[i].Privilege = p
	}
	return lives
}

// Publisher is a 007 to join a channel and send audio, video and data.
func Publisher(channel string, user User, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: Media, Channel: channel, User: user, Privileges: granted(publisher...)})
}

// Subscriber is a 007 to join a channel and receive.
func Subscriber(channel string, user User, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: Media, Channel: channel, User: user, Privileges: granted(subscriber...)})
}

// MediaWith is a 007 to join a channel with these privileges.
func MediaWith(channel string, user User, now time.Time, life time.Duration, privileges ...PrivilegeLife) Card {
	c := new007(now, life, Grant007{Service: Media, Channel: channel, User: user})
	c.Services[0].Privileges = slices.Clone(privileges)
	return c
}

// WithRTM adds messaging for an account to a 007.
func (c Card) WithRTM(account User) Card {
	return c.with(Grant007{Service: RTM, User: account, Privileges: []PrivilegeLife{{LoginRTM, c.Expires}}})
}

// WithRTM2 adds messaging and stream channels with permissions to a 007.
func (c Card) WithRTM2(account User, resources []Resource) Card {
	return c.with(Grant007{Service: RTM2, User: account, Privileges: []PrivilegeLife{{LoginRTM, c.Expires}}, Resources: resources})
}

func (c Card) with(s Grant007) Card {
	c.Services = append(c.Services[:len(c.Services):len(c.Services)], s)
	return c
}

// Messaging is a 007 for messaging.
func Messaging(account User, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: RTM, User: account, Privileges: granted(LoginRTM)})
}

// MessagingWith is a 007 for messaging and stream channels with permissions.
func MessagingWith(account User, resources []Resource, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: RTM2, User: account, Privileges: granted(LoginRTM), Resources: resources})
}

// ChatOf is a 007 for a user's chat.
func ChatOf(user User, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: Chat, User: user, Privileges: granted(ChatUser)})
}

// ChatOfApp is a 007 for the chat's administration.
func ChatOfApp(now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: Chat, Privileges: granted(ChatApp)})
}

// Acceleration is a 007 for FPA: for 24 hours, the privilege as long as the key.
func Acceleration(now time.Time) Card {
	c := new007(now, 24*time.Hour, Grant007{Service: FPA, Privileges: granted(LoginFPA)})
	c.Services[0].Privileges[0].Seconds = 0
	return c
}

// ClassroomUser is a 007 for a user in a room of the classroom, in a role: with
// messaging, and chat under the MD5 of the user's name.
func ClassroomUser(room string, user User, role int16, now time.Time, life time.Duration) Card {
	chat := md5Hex(string(user))
	return new007(now, life,
		Grant007{Service: APaaS, Channel: room, User: user, Role: role, Privileges: granted(APaaSRoomUser)},
		Grant007{Service: RTM, User: user, Privileges: granted(LoginRTM)},
		Grant007{Service: Chat, User: User(chat), Privileges: granted(ChatUser)})
}

// ClassroomAccount is a 007 for a user of the classroom outside any room.
func ClassroomAccount(user User, now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: APaaS, User: user, Role: -1, Privileges: granted(APaaSUser)})
}

// ClassroomApp is a 007 for the classroom's administration.
func ClassroomApp(now time.Time, life time.Duration) Card {
	return new007(now, life, Grant007{Service: APaaS, Role: -1, Privileges: granted(APaaSApp)})
}

// Publisher006 is a 006 to join a channel and send until a time.
func Publisher006(channel string, user User, now, until time.Time) Card {
	return new006(channel, user, now, until, publisher)
}

// Subscriber006 is a 006 to join a channel and receive until a time.
func Subscriber006(channel string, user User, now, until time.Time) Card {
	return new006(channel, user, now, until, subscriber)
}

// Media006With is a 006 to join a channel with these privileges.
func Media006With(channel string, user User, now time.Time, privileges ...Grant006) Card {
	c := new006(channel, user, now, time.Time{}, nil)
	c.Privileges = slices.Clone(privileges)
	return c
}

// Messaging006 is a 006 for messaging until a time.
func Messaging006(account User, now, until time.Time) Card {
	return new006(string(account), Anybody, now, until, []Privilege{LoginRTM006})
}

// new006 returns a 006, which itself ends 24 hours from now.
func new006(channel string, user User, now, until time.Time, privileges []Privilege) Card {
	c := Card{Format: V006, Channel: channel, User: user, Issued: unix(now.Add(day * time.Second)), Random: NewRandom()}
	for _, p := range privileges {
		c.Privileges = append(c.Privileges, Grant006{p, unix(until)})
	}
	return c
}

// Role006 is a role of the builder that the vendor had in 2018 and 2019.
type Role006 uint8

// The roles of Simple006.
const (
	SimpleAttendee Role006 = iota
	SimplePublisher
	SimpleSubscriber
	SimpleAdmin
)

var simpleRoles = [...][]Privilege{
	SimpleAttendee:   {1, 2, 3, 4},
	SimplePublisher:  {1, 2, 3, 4, 5, 6, 10, 11, 12},
	SimpleSubscriber: {1, 7, 8, 9},
	SimpleAdmin:      {1, 2, 3, 4, 101},
}

// Simple006 is a 006 with the privileges of such a role, each as long as the key.
// It panics on a role that is none of the constants.
func Simple006(channel string, user User, role Role006, now time.Time) Card {
	return new006(channel, user, now, time.Unix(0, 0), simpleRoles[role])
}

// md5Hex is how a classroom names its chat users: no secret hangs on it, so it is
// no matter for FIPS 140.
func md5Hex(s string) (name string) {
	fips140.WithoutEnforcement(func() {
		sum := md5.Sum([]byte(s))
		name = hex.EncodeToString(sum[:])
	})
	return name
}
