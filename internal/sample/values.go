package sample

import (
	"math/bits"
	"strconv"
	"time"
)

// values fill the gaps of one new request.
type values struct {
	request                  *request
	auditID                  [2]uint64
	start                    int64 // microseconds
	version                  int64 // resource version, ascending
	namespace, user, variant int
}

// append appends the line of s.
func (v *values) append(out []byte, s *stage, c *clock) []byte {
	for i := range s.parts {
		p := &s.parts[i]
		out = append(out, p.text...)
		switch p.gap {
		case gapEnd:
		case gapAuditID:
			out = appendUUID(out, v.auditID[0], v.auditID[1])
		case gapUID:
			// The same object has the same UID in all of its requests.
			h := mix(p.hash + uint64(v.namespace)<<32 + uint64(v.variant))
			out = appendUUID(out, h, mix(h))
		case gapTime:
			t := v.start + p.time.Sub(v.request.received).Microseconds()
			out = c.append(out, t, len(p.was) > len("2006-01-02T15:04:05Z"))
		case gapVersion:
			out = strconv.AppendInt(out, 1_000_000+v.version, 10)
		case gapCredential:
			h := uint64(v.user)
			for range 4 {
				h = mix(h)
				out = appendHex(out, h, 16)
			}
		case gapNamespace:
			out = appendNamespace(out, v.namespace)
		case gapName:
			out = append(out, p.was...)
			if v.variant > 0 {
				out = append(out, '-', 'v')
				out = strconv.AppendInt(out, int64(v.variant), 10)
			}
		case gapUser:
			out = appendUser(out, v.user)
		case gapAddress:
			h := mix(uint64(v.user))
			out = append(out, "10."...)
			out = strconv.AppendUint(out, h%200, 10)
			out = append(out, '.')
			out = strconv.AppendUint(out, h>>8&0xff, 10)
			out = append(out, '.')
			out = strconv.AppendUint(out, 1+h>>16%250, 10)
		}
	}
	return out
}

// clock formats times, most of which are in the second of the one before.
type clock struct {
	second int64
	text   []byte // "2006-01-02T15:04:05"
}

func (c *clock) append(out []byte, micros int64, fraction bool) []byte {
	second := micros / 1e6
	if second != c.second || c.text == nil {
		c.second = second
		c.text = time.Unix(second, 0).UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05")
	}
	out = append(out, c.text...)
	if fraction {
		f := micros % 1e6
		out = append(out, '.')
		for unit := int64(100_000); unit > 0; unit /= 10 {
			out = append(out, '0'+byte(f/unit%10))
		}
	}
	return append(out, 'Z')
}

// mix is the finalizer of SplitMix64: near numbers give unrelated ones.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func appendHex(out []byte, x uint64, digits int) []byte {
	x = bits.RotateLeft64(x, 64-4*digits)
	for range digits {
		x = bits.RotateLeft64(x, 4)
		out = append(out, "0123456789abcdef"[x&0xf])
	}
	return out
}

// appendUUID appends a random (version 4) UUID.
func appendUUID(out []byte, a, b uint64) []byte {
	a = a&^0xf000 | 0x4000
	b = b&^(3<<62) | 2<<62
	out = append(appendHex(out, a>>32, 8), '-')
	out = append(appendHex(out, a>>16&0xffff, 4), '-')
	out = append(appendHex(out, a&0xffff, 4), '-')
	out = append(appendHex(out, b>>48, 4), '-')
	return appendHex(out, b&(1<<48-1), 12)
}

func appendNamespace(out []byte, n int) []byte {
	names := [...]string{
		"payments", "checkout", "search", "catalog", "cart", "orders", "billing", "invoices", "shipping", "returns",
		"accounts", "identity", "sessions", "profiles", "mail", "push", "sms", "events", "metrics", "logs",
		"traces", "alerts", "grafana", "argocd", "ci", "builds", "registry", "vault", "ingress", "dns",
		"images", "video", "uploads", "cdn", "recommend", "ranking", "features", "training", "reports", "ledger",
	}
	suffixes := [...]string{"", "-dev", "-staging", "-test", "-canary", "-eu", "-us", "-asia", "-load", "-sandbox"}
	k := n / len(names)
	out = append(append(out, names[n%len(names)]...), suffixes[k%len(suffixes)]...)
	if k /= len(suffixes); k > 0 {
		out = append(out, '-')
		out = strconv.AppendInt(out, int64(k), 10)
	}
	return out
}

func appendUser(out []byte, n int) []byte {
	first := [...]string{
		"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "laura", "mallory",
		"nina", "oscar", "peggy", "quinn", "rupert", "sybil", "trent", "ursula", "victor", "walter", "xenia", "yusuf",
		"zoe", "amir", "bianca", "chen", "deepa", "emeka", "fatima", "goran", "hana", "ines", "jonas", "kofi", "lena",
		"marco", "noor", "olga", "pavel", "rosa", "sven", "tomas", "uma", "vera", "wanjiku", "yara", "zane",
	}
	last := [...]string{
		"", ".adams", ".baker", ".costa", ".diaz", ".evans", ".fischer", ".garcia", ".haddad", ".ito", ".jansen", ".khan", ".lopez",
		".meyer", ".novak", ".okafor", ".patel", ".quist", ".rossi", ".silva", ".tanaka", ".ueda", ".varga", ".weber", ".xu",
		".yilmaz", ".zhang", ".berg", ".cruz", ".dubois", ".eriksen", ".ferrari", ".gomez", ".hansen", ".ivanov", ".jones",
		".kim", ".lee", ".moreau", ".nguyen",
	}
	k := n / len(first)
	out = append(append(out, first[n%len(first)]...), last[k%len(last)]...)
	if k /= len(last); k > 0 {
		out = strconv.AppendInt(out, int64(k), 10)
	}
	return append(out, "@example.com"...)
}
