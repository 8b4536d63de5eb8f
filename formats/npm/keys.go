package npm

import (
	"encoding/base64"
	"fmt"

	"larder/formats"
)

// keyType is the only kind of registry key that npm knows (npm documentation,
// "ECDSA registry signatures").
const keyType = "ecdsa-sha2-nistp256"

// Mend adds this site's key to the registry keys of an upstream, whose entries
// stay byte for byte, so that "npm audit signatures" finds the keys of what was
// published here and of what came from there in one list.
func (f *Format) Mend(t formats.Target, body []byte, site formats.SiteFacts) ([]byte, bool, error) {
	if t.Kind != formats.KindDocument || t.Doc != keysPath || site.KeyID == "" {
		return nil, false, nil
	}
	out := []byte(`{"keys":[`)
	if body != nil {
		end, err := checkValue(body, space(body, 0), 0)
		if err != nil {
			return nil, false, fmt.Errorf("mend registry keys: %w", err)
		}
		list := find(body, "keys")
		if space(body, end) != len(body) || len(list) == 0 || list[0] != '[' {
			return nil, false, fmt.Errorf("mend registry keys: %w: no list of keys", errJSON)
		}
		for i := space(list, 1); list[i] != ']'; {
			end := skipValue(list, i)
			// A key under our id that is not ours would spoil our signatures.
			if val := list[i:end]; text(find(val, "keyid")) != site.KeyID {
				out = append(append(out, val...), ',')
			}
			if i = space(list, end); list[i] == ',' {
				i = space(list, i+1)
			}
		}
	}
	out = append(out, `{"expires":null,"keyid":`...)
	out = appendString(out, site.KeyID)
	out = append(out, `,"keytype":"`+keyType+`","scheme":"`+keyType+`","key":"`...)
	out = append(out, base64.StdEncoding.EncodeToString(site.PublicKey)...)
	return append(out, `"}]}`...), true, nil
}
