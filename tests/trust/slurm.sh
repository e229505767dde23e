#!/usr/bin/env bash
# A SLURM of this one machine, for as long as standard input stays open (in a terminal: until Ctrl-D):
#     tests/trust/slurm.sh
# prints `ready`, or one line saying why there can be none, and then ends with status 77. Packages: slurm-wlm and munge. It owns
# /etc/slurm/slurm.conf and gres.conf meanwhile (clients read no other place once SLURM_CONF is dropped), never replaces
# one that is there, and keeps everything else, keys and logs too, in a folder of its own that goes with it.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

cannot() {
    echo "no SLURM here: $1"
    exit 77
}

[ "$(id -u)" = 0 ] || cannot "needs root"
for program in slurmctld slurmd munged sbatch; do
    command -v $program > /dev/null || cannot "$program is not installed (Debian: apt-get install slurm-wlm munge)"
done
CONF=/etc/slurm
for file in slurm.conf gres.conf; do
    [ ! -e $CONF/$file ] || cannot "$CONF/$file is somebody's"
done
mkdir -p $CONF

FOLDER=$(mktemp -d)
# a munged of its own needs every parent of its socket to be writable by root alone, and /tmp is not
RUN=$(mktemp -d /run/railkd-slurm.XXXXXX)
chmod 755 "$FOLDER" "$RUN"

stop() {
    trap - EXIT INT TERM
    scancel --state=PENDING,RUNNING --user=root 2> /dev/null || true
    for _ in $(seq 50); do # their processes end with the jobs
        [ -n "$(squeue --noheader 2> /dev/null)" ] || break
        sleep 0.2
    done
    for daemon in slurmd slurmctld munged; do
        pid=$(cat "$RUN/$daemon.pid" 2> /dev/null) || continue
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 50); do
            [ -e "/proc/$pid/exe" ] || break # gone, or dead and not yet buried
            sleep 0.2
        done
        kill -9 "$pid" 2> /dev/null || true
    done
    rm -f $CONF/slurm.conf $CONF/gres.conf
    rm -rf "$FOLDER" "$RUN"
}
trap stop EXIT
trap 'exit 130' INT TERM

HOST=$(hostname -s)
# As much memory and as many GPUs as the profile asks for, whatever this machine has: SLURM counts them, nobody uses them.
set -o noclobber # somebody else's file that has appeared meanwhile is an error
cat > $CONF/slurm.conf << END
ClusterName=railkd
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$RUN/munged.socket
CredType=cred/munge
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu,shard
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
MaxJobCount=1000
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=1000000 Gres=gpu:1,shard:4 State=UNKNOWN
PartitionName=all Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
END
cat > $CONF/gres.conf << END
Name=gpu File=/dev/null
Name=shard Count=4
END
set +o noclobber

mkdir "$FOLDER/state" "$FOLDER/spool"
(umask 077 && head --bytes=128 /dev/urandom > "$RUN/key")
{
    # Nothing of theirs may hold this script's pipes open.
    munged --force --key-file="$RUN/key" --socket="$RUN/munged.socket" --pid-file="$RUN/munged.pid" \
        --seed-file="$RUN/seed" --log-file="$RUN/munged.log"
    slurmctld -c
    slurmd -c
} < /dev/null > "$FOLDER/start.log" 2>&1 || {
    tail --quiet --lines=3 "$FOLDER"/*.log >&2
    exit 1
}
for _ in $(seq 300); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -qx idle; then
        echo ready
        cat > /dev/null
        exit 0
    fi
    sleep 0.2
done
tail --quiet --lines=5 "$FOLDER"/*.log >&2
echo "the node did not come up in a minute" >&2
exit 1
