# Turns aggregated discovery (/api and /apis) into audit/policy/catalog.txt, a resource a line:
# group plural singular kind scope versions short-names verbs subresource:verbs...
# "-" is an empty field, "*" the eight usual verbs.
def usual: ["create","delete","deletecollection","get","list","patch","update","watch"];
def words: if length == 0 then "-" else join(",") end;
def verbs: (flatten | unique) as $v | if $v == usual then "*" else $v | words end;
[inputs.items[] | (.metadata.name // "") as $group | .versions[] | .version as $version | .resources[]
  | . + {group: $group, version: $version}]
| group_by([.group, .resource])[]
| . as $all | $all[0]
| [(if .group == "" then "-" else .group end), .resource, (if (.singularResource // "") == "" then "-" else .singularResource end), .responseKind.kind, (.scope | ascii_downcase),
   ([$all[].version] | unique | words),
   ([$all[].shortNames // [] | .[]] | unique | words),
   ([$all[].verbs] | verbs)]
  + ([$all[].subresources // [] | .[]] | group_by(.subresource) | map(.[0].subresource + ":" + ([.[].verbs] | verbs)))
| join(" ")
