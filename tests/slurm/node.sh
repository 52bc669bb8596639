#!/bin/bash
# A SLURM of one node on this machine, without systemd and without root: munged, slurmctld and slurmd of the user who calls.
#
#   node.sh up DIR [CORES]    starts it; everything it writes is in DIR; CORES (default: all of the machine) may be more than there are
#   export SLURM_CONF=DIR/slurm.conf
#   sbatch, squeue, scancel, scontrol ... as on a cluster
#   node.sh down DIR          cancels all jobs and ends the three daemons
#
# Debian and Ubuntu: apt install slurm-wlm munge
set -euo pipefail

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$dir/slurm.conf

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
    local left=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.2
    done
}

end() {  # the process of a pid file, gently, then not
    [ -s "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    wait_for 10 sh -c "! kill -0 $pid" || kill -9 "$pid" 2>/dev/null || true
}

down() {
    if [ -s "$SLURM_CONF" ] && scontrol ping >/dev/null 2>&1; then
        scancel --user="$(id -un)" 2>/dev/null || true
        wait_for 10 sh -c '[ -z "$(squeue --noheader --states=running,completing)" ]' || true
    fi
    end "$dir/slurmd.pid"
    end "$dir/slurmctld.pid"
    end "$dir/munged.pid"
}

up() {
    for program in munged slurmctld slurmd sbatch; do
        command -v $program >/dev/null || { echo "$program is missing: apt install slurm-wlm munge" >&2; exit 1; }
    done
    [ ! -e "$SLURM_CONF" ] || { echo "$dir is in use, or was: node.sh down $dir, and remove it" >&2; exit 1; }
    local cores=${1:-$(nproc)} host user
    host=$(hostname -s)
    user=$(id -un)
    chmod 700 "$dir"
    mkdir -p "$dir/state" "$dir/spool"
    head -c 1024 /dev/urandom >"$dir/munge.key"
    chmod 600 "$dir/munge.key"
    cat >"$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# Jobs end when they should, not minutes later; the default of 300 s also holds for a job without a node.
KillWait=2
OverTimeLimit=0
MinJobAge=60
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=UNLIMITED State=UP OverSubscribe=NO
CONF
    # --force: munged is strict about the folders above its files, which are those of the caller here.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" 2>"$dir/munged.err"
    slurmctld -c
    slurmd -c -N "$host"
    wait_for 30 sh -c 'sinfo --noheader --format=%t | grep -qx idle' || {
        tail -n 20 "$dir"/munged.err "$dir"/*.log >&2
        down
        echo "the node did not come up" >&2
        exit 1
    }
    echo "SLURM of one node with $cores cores is up: export SLURM_CONF=$SLURM_CONF"
}

case $verb in
up) up "${@:3}" ;;
down) down ;;
*) usage ;;
esac
