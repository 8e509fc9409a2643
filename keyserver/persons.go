package keyserver

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyserver/api/admin"
)

// Persons are those who may administer the key servers of a ring. They lie on a shelf of
// the ring, which all its servers share: whoever can open the ring appoints the first
// owner. [Persons.OnRing] has that audited.
type Persons struct {
	ring  *keyring.Ring
	shelf *keyring.Shelf
}

// The life of a person's token.
const (
	DefaultTokenLife = 8 * time.Hour
	MaxTokenLife     = 24 * time.Hour
	tokenSkew        = time.Minute // by which the clocks of who granted and who checks may differ
)

const (
	personPrefix = "csa_"
	maxPerson    = 64 // bytes of a name
)

var (
	// ErrNoPerson says that nobody of that name is appointed.
	ErrNoPerson = errors.New("keyserver: no such person")
	// ErrLastOwner says that nobody would be left to appoint anybody.
	ErrLastOwner = errors.New("keyserver: this is the last owner: appoint another one first")
)

// person is a record of the shelf. The token is known by its hash.
type person struct {
	Name  string
	Role  admin.Role
	Pin   string
	Token []byte `json:",omitempty"`
	Until int64  // of the token, unix seconds
}

// NewPersons returns the persons of a ring.
func NewPersons(ring *keyring.Ring) (*Persons, error) {
	shelf, err := ring.Shelf("persons")
	if err != nil {
		return nil, err
	}
	return &Persons{ring, shelf}, nil
}

func (p *Persons) key(name string) (string, error) {
	id, err := p.shelf.Name("person", name)
	return "p/" + id, err
}

// Appoint appoints a person, or changes their role or certificate; their token ends by it.
// pin is what [Pin] says of their certificate, "" if they have none.
func (p *Persons) Appoint(ctx context.Context, name string, role admin.Role, pin string) error {
	switch {
	case name == "" || len(name) > maxPerson:
		return fmt.Errorf("keyserver: a person's name of %d bytes: make it 1 to %d", len(name), maxPerson)
	case !role.Valid():
		return fmt.Errorf("keyserver: there is no role %q: owner, operator and auditor are", role)
	case pin != "" && (!strings.HasPrefix(pin, "sha256//") || len(pin) != 52):
		return errors.New("keyserver: a certificate is known by sha256// and the SHA-256 of its public key in base64")
	}
	return p.change(ctx, name, true, func(x *person) error {
		if x.Role == admin.Owner && role != admin.Owner {
			if err := p.others(ctx, name); err != nil {
				return err
			}
		}
		*x = person{Name: name, Role: role, Pin: pin}
		return nil
	})
}

// Grant gives a person a token for a time, 0 for 8 hours, in place of an earlier one.
func (p *Persons) Grant(ctx context.Context, name string, life time.Duration) (token string, until time.Time, err error) {
	return p.grant(ctx, name, life, time.Now())
}

func (p *Persons) grant(ctx context.Context, name string, life time.Duration, now time.Time) (token string, until time.Time, err error) {
	if life == 0 {
		life = DefaultTokenLife
	}
	if life < 0 || life > MaxTokenLife {
		return "", until, fmt.Errorf("keyserver: a token for %v: it must be for at most %v", life, MaxTokenLife)
	}
	key, err := p.key(name)
	if err != nil {
		return "", until, err
	}
	token, hash := newToken(personPrefix + strings.TrimPrefix(key, "p/") + "_")
	until = now.Add(life).Truncate(time.Second)
	err = p.change(ctx, name, false, func(x *person) error {
		x.Token, x.Until = hash[:], until.Unix()
		return nil
	})
	if err != nil {
		return "", until, err
	}
	return token, until, nil
}

// change changes a person's record by compare-and-swap.
func (p *Persons) change(ctx context.Context, name string, create bool, f func(*person) error) error {
	key, err := p.key(name)
	if err != nil {
		return err
	}
	for {
		var x person
		e, err := p.shelf.Get(ctx, key)
		switch {
		case errors.Is(err, keyring.ErrNotFound) && !create:
			return ErrNoPerson
		case errors.Is(err, keyring.ErrNotFound):
		case err != nil:
			return err
		default:
			if err := json.Unmarshal(e.Value, &x); err != nil {
				return fmt.Errorf("keyserver: a person's record cannot be read: %w", err)
			}
		}
		if err := f(&x); err != nil {
			return err
		}
		value, err := json.Marshal(&x)
		if err != nil {
			return fmt.Errorf("keyserver: %w", err)
		}
		if _, err = p.shelf.CAS(ctx, key, value, e.Rev); !errors.Is(err, keyring.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Dismiss removes a person.
func (p *Persons) Dismiss(ctx context.Context, name string) error {
	key, err := p.key(name)
	if err != nil {
		return err
	}
	e, err := p.shelf.Get(ctx, key)
	if errors.Is(err, keyring.ErrNotFound) {
		return ErrNoPerson
	} else if err != nil {
		return err
	}
	var x person
	if json.Unmarshal(e.Value, &x) == nil && x.Role == admin.Owner {
		if err := p.others(ctx, name); err != nil {
			return err
		}
	}
	return p.shelf.Delete(ctx, key, e.Rev)
}

// others returns ErrLastOwner if there is no owner but this one.
func (p *Persons) others(ctx context.Context, name string) error {
	all, err := p.List(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.Role == admin.Owner && x.Name != name {
			return nil
		}
	}
	return ErrLastOwner
}

// List returns all persons, without their tokens, by no order.
func (p *Persons) List(ctx context.Context) ([]admin.Person, error) {
	entries, _, err := p.shelf.List(ctx, "p/")
	if err != nil {
		return nil, err
	}
	all := []admin.Person{}
	for _, e := range entries {
		var x person
		if err := json.Unmarshal(e.Value, &x); err != nil {
			return nil, fmt.Errorf("keyserver: a person's record cannot be read: %w", err)
		}
		all = append(all, admin.Person{Name: x.Name, Role: x.Role, Pin: x.Pin, TokenUntil: x.Until})
	}
	return all, nil
}

// authenticate finds whose token this is. The record may be returned with an error, for
// the audit record: who showed a token that is over, or another certificate.
func (p *Persons) authenticate(ctx context.Context, token, pin string, needPin bool, now time.Time) (*person, error) {
	rest, ok := strings.CutPrefix(token, personPrefix)
	id, _, cut := strings.Cut(rest, "_")
	if !ok || !cut || len(id) != 32 {
		return nil, refuse("unknown-token")
	}
	e, err := p.shelf.Get(ctx, "p/"+id)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, refuse("unknown-token")
	} else if err != nil {
		return nil, err
	}
	var x person
	if err := json.Unmarshal(e.Value, &x); err != nil {
		return nil, fmt.Errorf("keyserver: a person's record cannot be read: %w", err)
	}
	hash := hashToken(token)
	switch {
	case subtle.ConstantTimeCompare(hash[:], x.Token) != 1:
		return nil, refuse("unknown-token")
	case now.Unix() >= x.Until:
		return &x, refuse("token-over")
	case x.Until > now.Add(MaxTokenLife+tokenSkew).Unix(): // no token is for so long: the clock was set back
		return &x, refuse("clock")
	case needPin && (x.Pin == "" || subtle.ConstantTimeCompare([]byte(pin), []byte(x.Pin)) != 1):
		return &x, refuse("other-certificate")
	}
	return &x, nil
}
