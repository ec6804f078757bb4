_platypush_userd_call() {
    local word cur="$2" prev="$3" parameters="" flags="" command="" action="" given=" " i
    # Read the words before the cursor. Bash splits name=value into three words, unless COMP_WORDBREAKS has no "=".
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "$word" in
            --config | --token | --timeout)
                [[ ${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
                ((i++))
                continue
                ;;
        esac
        if [[ -z $command ]]; then
            case "$word" in
                -*) ;;
                *) command="$word" ;;
            esac
        elif [[ -z $action ]]; then
            _platypush_userd_parameters "$word" && action="$word"
        else
            given+="${word%%=*} "
        fi
    done

    # clap_complete completes actions without the prefix of the plugin.
    if [[ $command == call && -z $action && $cur == user.* && $prev != --* ]]; then
        COMPREPLY=($(compgen -P user. -W "$_platypush_userd_actions" -- "${cur#user.}"))
        return 0
    fi

    if [[ $command != call || -z $action || $cur == -* || $prev == --* ]]; then
        _platypush_userd "$@"
        # Offer options only after a dash.
        local kept=()
        for word in "${COMPREPLY[@]}"; do
            [[ $cur != -* && $word == -* ]] || kept+=("$word")
        done
        COMPREPLY=(${kept[@]+"${kept[@]}"})
        return 0
    fi

    # Do not complete file names.
    compopt +o default +o bashdefault 2>/dev/null
    COMPREPLY=()
    local name="" before=""
    if [[ ${COMP_WORDS[COMP_CWORD]} == "=" ]]; then
        name="$prev" cur=""
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == "=" ]]; then
        name="${COMP_WORDS[COMP_CWORD - 2]}"
    elif [[ $cur == *=* ]]; then
        name="${cur%%=*}" cur="${cur#*=}" before="$name="
    fi
    if [[ -n $name ]]; then
        [[ " $flags " == *" $name "* ]] && COMPREPLY=($(compgen -P "$before" -W "true false" -- "$cur"))
        return 0
    fi
    for word in $parameters; do
        [[ $given == *" $word "* || $word != "$cur"* ]] || COMPREPLY+=("$word=")
    done
    compopt -o nospace 2>/dev/null
    return 0
}

complete -F _platypush_userd_call -o bashdefault -o default platypush-userd
