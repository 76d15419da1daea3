#!/usr/bin/env bash
# A SLURM cluster of one machine with four simulated GPUs and accounting, for the tests marked `slurm`.
#   slurm_cluster.sh start FOLDER    needs root and Debian's slurmctld slurmd slurm-client slurmdbd munge mariadb-server
#   slurm_cluster.sh stop FOLDER
# Afterwards SLURM_CONF=FOLDER/slurm.conf makes sinfo, sbatch and submitit use it.
set -euo pipefail
action=$1 folder=$2
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

write_configuration() {
    mkdir -p "$folder"/{gpus,log,state,spool,mysql}
    for number in 0 1 2 3; do
        ln -sfn /dev/null "$folder/gpus/gpu$number" # slurmd insists on device files
    done
    echo "NodeName=$host Name=gpu File=$folder/gpus/gpu[0-3]" >"$folder/gres.conf"
    cat >"$folder/slurmdbd.conf" <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdPort=16819
SlurmUser=root
LogFile=$folder/log/slurmdbd.log
PidFile=$folder/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
    chmod 600 "$folder/slurmdbd.conf"
    # Without accounting, submitit waits forever for a killed job. The chosen plugins need no cgroups.
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
GresTypes=gpu
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=4000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start_database() {
    chown mysql "$folder/mysql"
    mariadb-install-db --no-defaults --user=mysql --datadir="$folder/mysql" --skip-test-db \
        --auth-root-authentication-method=normal >"$folder/log/install.log" 2>&1
    mariadbd --no-defaults --user=mysql --datadir="$folder/mysql" --socket="$folder/mysql/socket" \
        --bind-address=127.0.0.1 --port=13306 --pid-file="$folder/mysql/mariadbd.pid" \
        --innodb-lock-wait-timeout=900 >"$folder/log/mariadbd.log" 2>&1 &
    wait_for mariadb --no-defaults -S "$folder/mysql/socket" -u root -e "SELECT 1"
    mariadb --no-defaults -S "$folder/mysql/socket" -u root -e "
        CREATE DATABASE slurm_acct_db;
        CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
        CREATE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm';
        GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
        GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
}

start_munge() {
    munge -n >/dev/null 2>&1 && return
    install -d -o munge -g munge -m 755 /run/munge
    runuser -u munge -- /usr/sbin/munged --force --pid-file /run/munge/munged.pid
    touch "$folder/started-munge"
}

wait_for() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "timed out: $*" >&2
    return 1
}

end() {
    local id
    id=$(cat "$1" 2>/dev/null) || return 0
    kill "$id" 2>/dev/null || return 0
    for _ in $(seq 100); do
        grep -qs '^State:.[^Z]' "/proc/$id/status" || return 0
        sleep 0.1
    done
}

case $action in
start)
    chmod 755 "$folder"
    write_configuration
    start_munge
    start_database
    slurmdbd
    wait_for sacctmgr -i add cluster test
    slurmctld
    slurmd
    wait_for bash -c 'sinfo -h -o %T | grep -q idle'
    wait_for sacct -n
    ;;
stop)
    for file in "$folder"/slurmd.pid "$folder"/slurmctld.pid "$folder"/slurmdbd.pid "$folder"/mysql/mariadbd.pid; do
        end "$file"
    done
    if [ -f "$folder/started-munge" ]; then end /run/munge/munged.pid; fi
    ;;
*)
    echo "expected start or stop, got $action" >&2
    exit 2
    ;;
esac
