package origin

import "strings"

// confusables maps a character to the ASCII it looks like. Read-only.
var confusables = readLookalikes(lookalikes)

// lookalikes has a line for each ASCII string, and after it the characters that
// look like it. It follows the prototypes of Unicode TS #39 (confusables.txt) for
// Latin, Greek, Cyrillic, Armenian, Cherokee, Coptic, Lisu, and the zeros, ones and
// strokes of Hebrew, Arabic and the scripts of India and South-East Asia. What NFKD
// already turns into ASCII (full width, mathematical, super- and subscript,
// circled letters) is not repeated. Small capitals stand with their letter, and a
// cased letter whose small form has no look-alike of its own follows its capital.
const lookalikes = `
a  ɑ α а ᴀ ꓮ Ꭺ ⲁ
ae æ ӕ
b  Ь ь в β ƅ ʙ ꓐ Ᏼ ⲃ
c  с ϲ Ϲ ᴄ ꓚ Ꮯ ⲥ
d  ԁ ᴅ ꓓ Ꭰ Ꮷ
e  е ε є ᴇ ꓰ Ꭼ ⲉ
f  ꓝ ϝ ք
g  ɡ ց ԍ ɢ ꓖ Ꮐ
h  һ Η н հ ʜ ꓧ Ꮋ Ꮒ ⲏ
j  ј ȷ ᴊ ꓙ Ꭻ
k  к κ ᴋ ꓗ Ꮶ ⲕ
l  ι і ı ɩ ɪ ӏ ǀ ʟ ꓡ ꓲ Ꮮ Ꭵ Ꮖ ⲓ Լ ו ן ا ١ ۱ ߊ
m  м Μ ᴍ ꓟ Ꮇ ⲙ
n  Ν η ո ɴ ꓠ ⲛ
o  ο σ о օ ᴏ ס ه ە ٥ ۵ ߀ ० ০ ੦ ૦ ୦ ௦ ౦ ೦ ൦ ๐ ໐ ဝ ၀ ꓳ ⲟ
oe œ
p  ρ р þ ƿ ᴘ ꓑ Ꮲ ⲣ
q  ԛ զ
r  г ʀ ꓣ Ꮁ Ꭱ
s  ѕ ꜱ Տ ꓢ Ꮪ
ss ß
t  τ т ᴛ ꓔ Ꭲ ⲧ
u  υ μ ս ʋ ᴜ ꓴ
v  ν ѵ ᴠ ꓦ Ꮩ
w  ԝ ѡ ω ᴡ ꓪ Ꮃ Ꮤ
x  χ х ꓫ ⲭ
y  γ Υ у ү ʏ ꓬ Ꭹ Ꮍ ⲩ
z  ζ ᴢ ꓜ Ꮓ
2  ƨ
3  з ʒ ӡ ȝ ɜ
6  б
8  ȣ
-  ‐ ‑ ‒ – — ― ⁃ − ˗ ➖ ─
.  · • ‧ ∙ ⋅ ・ ꓸ
_  ˍ
/  ⁄ ∕ ⧸
`

func readLookalikes(table string) map[rune]string {
	m := map[rune]string{}
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i++ {
			for _, r := range fields[i] {
				m[r] = fields[0]
			}
		}
	}
	return m
}
