package ifconfig_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pfsync-linux/pfsync/ifconfig"
)

const keyDigits = "5ec1e7005ec1e7015ec1e7025ec1e7035ec1e7045ec1e7055ec1e7065EC1E707"

func testKey(t *testing.T) ifconfig.Key {
	t.Helper()
	k, err := ifconfig.ParseKey(keyDigits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKey(t *testing.T) {
	if got := hex.EncodeToString(testKey(t).Secret()); got != strings.ToLower(keyDigits) {
		t.Errorf("key %s", got)
	}
	for text, want := range map[string]string{
		"":                          "0 characters instead of 64 hexadecimal digits",
		keyDigits[1:]:               "63 characters instead of 64 hexadecimal digits",
		keyDigits + "00":            "66 characters instead of 64 hexadecimal digits",
		keyDigits[:63] + "g":        "has other characters than hexadecimal digits",
		" " + keyDigits[:63]:        "has other characters than hexadecimal digits",
		keyDigits[:62] + "\x00\xff": "has other characters than hexadecimal digits",
	} {
		k, err := ifconfig.ParseKey(text)
		if err == nil || err.Error() != want || k.Secret() != nil {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Whatever is done to print it, also inside of other things, the key is not to be seen.
func TestAKeyIsNeverShown(t *testing.T) {
	k := testKey(t)
	k.File = "/etc/pfsync.key"
	change := ifconfig.Change{Interface: "pfsync0", Key: &k}
	values := map[string]any{
		"key": k, "its pointer": &k, "change": change, "its pointer ": &change,
		"a field not exported": struct{ k ifconfig.Key }{k}, "a pointer not exported": struct{ k *ifconfig.Key }{&k},
		"a slice": []ifconfig.Key{k}, "a map": map[string]ifconfig.Key{"": k}, "an error": fmt.Errorf("%v: %w", k, errors.ErrUnsupported),
		"no file": testKey(t),
	}
	var shown strings.Builder
	text := slog.New(slog.NewTextHandler(&shown, nil))
	structured := slog.New(slog.NewJSONHandler(&shown, nil))
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%t", "%e", "%p", "%T", "%U"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shown.Write(b)
		text.Info("x", "v", v)
		structured.Info("x", "v", v)
	}
	k.File = ""
	for _, form := range []string{
		keyDigits[:16], hex.EncodeToString(k.Secret()[:8]), string(k.Secret()[:8]), // as text, as bytes
		strings.Trim(fmt.Sprint(k.Secret()[:4]), "[]"), fmt.Sprintf("%x", keyDigits[:8]), "Xsc",
		strings.Trim(fmt.Sprintf("%#v", k.Secret()[:4]), "[]byte{}"),
	} {
		if bytes.Contains(bytes.ToLower([]byte(shown.String())), bytes.ToLower([]byte(form))) {
			t.Errorf("%q is shown", form)
		}
	}
	if !strings.Contains(shown.String(), "/etc/pfsync.key") {
		t.Error("nor is the file")
	}
}

func TestKeyString(t *testing.T) {
	for want, k := range map[string]ifconfig.Key{
		"none": {}, "/etc/k": {File: "/etc/k"}, "(not shown)": testKey(t), `"/etc/\x1b"`: {File: "/etc/\x1b"},
	} {
		if k.String() != want {
			t.Errorf("%s, want %s", k, want)
		}
	}
}

func TestKeyEqual(t *testing.T) {
	other, err := ifconfig.ParseKey(strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	file := ifconfig.Key{File: "/etc/k"}
	if k := testKey(t); !k.Equal(testKey(t)) || k.Equal(other) || k.Equal(ifconfig.Key{}) || file.Equal(ifconfig.Key{}) || !file.Equal(file) {
		t.Error("Equal does not compare the keys")
	}
	if k := testKey(t); k.Unread() || !file.Unread() || (ifconfig.Key{}).Unread() {
		t.Error("Unread is not about files alone")
	}
}
