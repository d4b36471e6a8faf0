# bash completion for hillock; made by `hillock completion`
_hillock()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
	local noun='' verb='' word words globals i
	globals="--server --output --timeout --tls-ca --tls-cert --tls-key --tls-crl --tls-server-name --tls-ocsp-required --token-file --vnet --context --help"
	case $previous in
	-o|--output) mapfile -t COMPREPLY < <(compgen -W 'table json jsonl' -- "$current"); return ;;
	--file|--dir|--disk) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
	esac
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-s|--server|-o|--output|--timeout) i=$((i + 1)) ;;
		-*) ;;
		*) if [ -z "$noun" ]; then noun=$word; elif [ -z "$verb" ]; then verb=$word; fi ;;
		esac
	done
	case $noun in
	submit|work|call|serve|bind|bridge|stats|checkpoint|fsck|backup|restore|publish|subscribe|events|doctor) verb='' ;;
	esac
	case "$noun $verb" in
	' ') words="submit work task queue dlq call serve bind bridge directory worker stats checkpoint node bench fsck backup restore publish subscribe events subscription type schedule group principal token acl blob context doctor $globals --version" ;;
	'submit ') words="$globals --queue --payload --file --lines --key --priority --delay --expires --execution --require --order-key --hot --sticky --max-attempts --retention --header --fingerprint --wait --updates --parent --never-again --again --heartbeat --close --worker --fail-fast --after --chain --group --after-group --group-size --callback --on-failure --dry-run" ;;
	'work ') words="$globals --queue --exec --concurrency --prefetch --name --count --limit --param --cost --hot --identity --force --quiet --payload-file --result-file --reference-type" ;;
	'task ') words="ls show wait cancel retry why watch interrupt pause resume step tree" ;;
	'task ls') words="$globals --queue --state --limit --all" ;;
	'task show') words="$globals" ;;
	'task wait') words="$globals --file" ;;
	'task cancel') words="$globals --reason --tree" ;;
	'task retry') words="$globals" ;;
	'task why') words="$globals" ;;
	'task watch') words="$globals --from" ;;
	'task interrupt') words="$globals" ;;
	'task pause') words="$globals" ;;
	'task resume') words="$globals" ;;
	'task step') words="$globals" ;;
	'task tree') words="$globals --limit" ;;
	'queue ') words="ls show create set peek purge pause resume rm bind unbind" ;;
	'queue ls') words="$globals" ;;
	'queue show') words="$globals" ;;
	'queue create') words="$globals --length-max --max-attempts --lease --backoff-min --backoff-max --expires --retention --selection --fair --weight --redelivery --heartbeat --renew --inline-max --dry-run" ;;
	'queue set') words="$globals --length-max --max-attempts --lease --backoff-min --backoff-max --expires --retention --selection --fair --weight --redelivery --heartbeat --renew --inline-max --dry-run" ;;
	'queue peek') words="$globals --limit" ;;
	'queue purge') words="$globals --yes --dry-run" ;;
	'queue pause') words="$globals" ;;
	'queue resume') words="$globals" ;;
	'queue rm') words="$globals --yes --dry-run" ;;
	'queue bind') words="$globals" ;;
	'queue unbind') words="$globals" ;;
	'dlq ') words="ls show redrive purge jobs stop" ;;
	'dlq ls') words="$globals --limit" ;;
	'dlq show') words="$globals" ;;
	'dlq redrive') words="$globals --limit --id --type --code --rate --detach --dry-run" ;;
	'dlq purge') words="$globals --yes --dry-run" ;;
	'dlq jobs') words="$globals" ;;
	'dlq stop') words="$globals" ;;
	'call ') words="$globals --payload --file --params --all --address --type --deadline --wait --stream" ;;
	'serve ') words="$globals --exec --param --concurrency --count --name --type --limit --quiet" ;;
	'bind ') words="$globals --params --min --desired --count" ;;
	'bridge ') words="$globals --from --to --service --where --events --policy --from-vnet --to-vnet --from-token-file --to-token-file --name --quiet" ;;
	'directory ') words="ls resolve watch" ;;
	'directory ls') words="$globals --params" ;;
	'directory resolve') words="$globals --params" ;;
	'directory watch') words="$globals --params --count" ;;
	'worker ') words="ls show drain stop kick block unblock" ;;
	'worker ls') words="$globals --blocked" ;;
	'worker show') words="$globals" ;;
	'worker drain') words="$globals" ;;
	'worker stop') words="$globals" ;;
	'worker kick') words="$globals --reason" ;;
	'worker block') words="$globals --for --reason --now" ;;
	'worker unblock') words="$globals" ;;
	'stats ') words="$globals" ;;
	'checkpoint ') words="$globals" ;;
	'node ') words="reload" ;;
	'node reload') words="$globals" ;;
	'bench ') words="task submit drain disk publish call schema blob" ;;
	'bench task') words="$globals --producers --workers --count --size --window --rate --confirm --prefetch --lanes --stretch --entries --alike --queue --shared --disk --threads --stall" ;;
	'bench submit') words="$globals --producers --count --size --window --rate --confirm --lanes --stretch --first-lane --queue --threads --stall" ;;
	'bench drain') words="$globals --workers --count --prefetch --queue --threads --stall" ;;
	'bench disk') words="$globals --dir --count --size" ;;
	'bench publish') words="$globals --subscribers --count --size --threads --flight" ;;
	'bench call') words="$globals --count --size --window" ;;
	'bench schema') words="$globals --root --count" ;;
	'bench blob') words="$globals --size --count --up --down" ;;
	'fsck ') words="$globals" ;;
	'backup ') words="$globals" ;;
	'restore ') words="$globals" ;;
	'publish ') words="$globals --payload --file --lines --key --retain --header --fingerprint" ;;
	'subscribe ') words="$globals --retained --descendants --fingerprint --count --policy --queue --credit --slow --quiet" ;;
	'events ') words="$globals --count --policy --queue --credit --slow --quiet" ;;
	'subscription ') words="add ls rm" ;;
	'subscription add') words="$globals" ;;
	'subscription ls') words="$globals" ;;
	'subscription rm') words="$globals" ;;
	'type ') words="register ls show check diff rm" ;;
	'type register') words="$globals --schema --root --policy --answers --alias --parent" ;;
	'type ls') words="$globals" ;;
	'type show') words="$globals" ;;
	'type check') words="$globals" ;;
	'type diff') words="$globals --root" ;;
	'type rm') words="$globals" ;;
	'schedule ') words="add ls show rm pause resume run" ;;
	'schedule add') words="$globals --type --cron --every --at --timezone --overlap --misfire --queue --payload --priority --expires --max-attempts --retention" ;;
	'schedule ls') words="$globals" ;;
	'schedule show') words="$globals" ;;
	'schedule rm') words="$globals" ;;
	'schedule pause') words="$globals" ;;
	'schedule resume') words="$globals" ;;
	'schedule run') words="$globals" ;;
	'group ') words="ls show cancel" ;;
	'group ls') words="$globals" ;;
	'group show') words="$globals --members" ;;
	'group cancel') words="$globals" ;;
	'principal ') words="ls show add set rm" ;;
	'principal ls') words="$globals" ;;
	'principal show') words="$globals" ;;
	'principal add') words="$globals --vnets --certificates --uids --with-token --admin --limit" ;;
	'principal set') words="$globals --vnets --certificates --uids --disable --enable --limit" ;;
	'principal rm') words="$globals --yes" ;;
	'token ') words="ls add rotate rm access" ;;
	'token ls') words="$globals" ;;
	'token add') words="$globals --lifetime" ;;
	'token rotate') words="$globals --lifetime --overlap" ;;
	'token rm') words="$globals" ;;
	'token access') words="$globals --lifetime" ;;
	'acl ') words="ls add rm test" ;;
	'acl ls') words="$globals" ;;
	'acl add') words="$globals" ;;
	'acl rm') words="$globals" ;;
	'acl test') words="$globals" ;;
	'blob ') words="put get ls show pin unpin rm gc scrub" ;;
	'blob put') words="$globals --media-type --pin" ;;
	'blob get') words="$globals --file --no-resume" ;;
	'blob ls') words="$globals --limit --all --damaged" ;;
	'blob show') words="$globals" ;;
	'blob pin') words="$globals" ;;
	'blob unpin') words="$globals" ;;
	'blob rm') words="$globals --yes" ;;
	'blob gc') words="$globals" ;;
	'blob scrub') words="$globals" ;;
	'context ') words="ls show use add rm" ;;
	'context ls') words="$globals" ;;
	'context show') words="$globals" ;;
	'context use') words="$globals" ;;
	'context add') words="$globals" ;;
	'context rm') words="$globals" ;;
	'doctor ') words="$globals" ;;
	*) words="$globals" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _hillock hillock
