package program

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// readSettings reads a configuration file whose members are flags.
func readSettings(name string) (map[string]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	var raw map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&raw); err != nil {
		return nil, &failure{err: fmt.Errorf("%s: %w", name, err), code: exitUsage, hints: []string{`a configuration file is a JSON object, such as {"listen": ":8443"}`}}
	}
	settings := map[string]string{}
	for k, v := range raw {
		var text string
		if json.Unmarshal(v, &text) != nil { // a number or a truth value, as it stands
			text = string(v)
		}
		settings[k] = text
	}
	return settings, nil
}

// certificateFile is a certificate that is read again when its file has changed, so that
// renewing it needs no restart.
type certificateFile struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed time.Time // of the file that is loaded
	looked  time.Time
}

// lookEvery is how often the file's time is asked for.
const lookEvery = 5 * time.Second

func (f *certificateFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.loaded != nil && now.Sub(f.looked) < lookEvery {
		return f.loaded, nil
	}
	f.looked = now
	info, err := os.Stat(f.cert)
	if err == nil && f.loaded != nil && info.ModTime().Equal(f.changed) {
		return f.loaded, nil
	}
	if err == nil {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.changed = &c, info.ModTime()
		}
	}
	if f.loaded != nil { // the old one serves until the files fit together
		return f.loaded, nil
	}
	return nil, fileError(f.cert, err)
}
