#!/bin/sh
# Writes every scenario's model to target/model and compares verifpal's verdicts with the ones below (README.md says what they mean).
#   check.sh               all scenarios
#   check.sh login         those of one model
#   check.sh login setup   one scenario; then `verifpal verify target/model/login-setup.vp` shows the attacks
cd "$(dirname "$0")" && mkdir -p ../../target/model || exit 1

# model  scenario  names of its lines (//@ NAME:, //- NAME)  sessions  verdicts, in the order of the queries: 0 holds, 1 is an attack
scenarios() {
	cat <<'END'
registration network - 2 c0c0c0c0a0a0f0
registration offline later 2 c1c0c0c0a0a0f0
registration all-later later,later_setup 2 c1c1c1c1a0a0f0
registration open open 1 c0c0c0c0a1a1f1
registration open-guess open,later 1 c1c1c1c1a1a1f1
login network - 2 c0c0c0c0c0c0a0a0a0f0f0
login database database 2 c0c0c0c0c0c0a0a0a0f0f0
login offline database,later,guess 1 c1c0c0c0c0c0a0a0a0f0f0
login setup setup,database 2 c0c0c0c0c1c0a1a0a1f0f0
login all-later later,later_setup,later_database,guess 1 c1c1c1c1c0c0a0a0a0f0f0
login online online 1 c1
login no-server-mac server_mac 1 c0c0c0c0c0c0a1a0a0f1f0
login no-client-mac client_mac 1 c0c0c0c0c0c0a0a1a0f0f1
login no-third-dh database,third_dh 1 c0c0c0c0c0c1a0a1a0f0f0
login relayed database,relayed 1 c0c0c0c0c0c0a0a0a0f0f0
login no-envelope-tag database,relayed,envelope 1 c0c0c0c0c1c0a1a0a1f0f0
generate network - 2 c0c0c0a0a0a0a0a0a0f0f0
generate database database 2 c0c0c0a0a0a0a0a0a0f0f0
generate no-direction direction 2 a1
custody server - 2 c0c0c0a0a0e0
custody server-random random 2 c0c0c0a0a0e0
custody server-vault vault 2 c1c1c0a0a0e0
custody server-both random,vault 2 c1c1c1a0a0e0
custody no-key-id key_id 2 c0c0c0a1a1e1
custody no-point vault,point 2 c1c1c0a0a1e1
END
}

failed=0
while read -r model scenario names sessions expected; do
	[ "${1:-$model}" = "$model" ] && [ "${2:-$scenario}" = "$scenario" ] || continue
	file=../../target/model/$model-$scenario.vp
	edit=$(echo "$names" | tr , '\n' | sed 's#.*#s|//@ &: ||; /\\/\\/- &$/d#')
	sed -e "$edit" -e '\|//@ [a-z_]*: |d' "$model.vp" > "$file"
	found=$(timeout 900 nice -n 10 verifpal verify -q --result-code --sessions "$sessions" "$file" < /dev/null | tail -n 1)
	[ "$found" = "$expected" ] && said=ok || { said="FAILED, expected $expected" failed=1; }
	echo "$model $scenario, $sessions sessions: $found $said"
done <<END
$(scenarios)
END
exit $failed
