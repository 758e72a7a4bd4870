//! The cluster is the real thing: pods, services, volumes, jobs, through both families.

use crate::lab::{Lab, eventually};

const WEB: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: c
          image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
          imagePullPolicy: IfNotPresent
          args: [netexec, --http-port=8080]
          ports: [{containerPort: 8080, hostPort: 18080}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: w-1.vial}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {name: c, image: vial/toolbox, command: [sleep, infinity], volumeMounts: [{name: data, mountPath: /data}, {name: host, mountPath: /host}, {name: scratch, mountPath: /scratch}]}
      volumes:
        - {name: data, persistentVolumeClaim: {claimName: data}}
        - {name: host, hostPath: {path: /var/lib/lab, type: DirectoryOrCreate}}
        - {name: scratch, emptyDir: {medium: Memory}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: vial/toolbox, command: [sh, -c, 'test -s /var/run/secrets/kubernetes.io/serviceaccount/token']}]
";

#[test]
fn pods_services_volumes_and_jobs_work_over_both_families() {
    let lab = Lab::up("work", &[]);
    let k = |args: &[&str]| lab.kubectl("work", args);
    lab.apply("work", WEB);
    k(&["rollout", "status", "daemonset/web", "--timeout=90s"]).ok();
    k(&["rollout", "status", "statefulset/store", "--timeout=90s"]).ok();
    k(&[
        "wait",
        "--for=condition=complete",
        "job/once",
        "--timeout=90s",
    ])
    .ok();

    // Pods on both nodes, by name, by service address of each family, by pod address of each family.
    let sh = |script: &str| k(&["exec", "store-0", "--", "bash", "-c", script]);
    let pods = k(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].status.podIPs[*].ip}",
    ])
    .ok();
    let services = k(&[
        "get",
        "service",
        "web",
        "-o",
        "jsonpath={.spec.clusterIPs[*]}",
    ])
    .ok();
    assert_eq!(
        pods.split(' ').count(),
        4,
        "two pods, two addresses each: {pods}"
    );
    assert_eq!(services.split(' ').count(), 2, "{services}");
    let bracket = |ip: &str| {
        if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        }
    };
    for ip in pods.split(' ') {
        sh(&format!(
            "curl -sS --max-time 5 http://{}:8080/hostname",
            bracket(ip)
        ))
        .ok();
    }
    for ip in services.split(' ') {
        sh(&format!(
            "curl -sS --max-time 5 http://{}/hostname",
            bracket(ip)
        ))
        .ok();
    }
    sh("curl -sS --max-time 5 http://web.default.svc/hostname").ok();
    assert_eq!(
        sh("dig +short outside.default.svc.cluster.local A | tail -1").ok(),
        "10.89.0.101"
    );

    // NodePort and hostPort on nodes, from another node.
    lab.exec(
        "work",
        "cp-1",
        &[
            "curl",
            "-sS",
            "--max-time",
            "5",
            "http://10.89.0.101:30080/hostname",
        ],
    )
    .ok();
    lab.exec(
        "work",
        "cp-1",
        &[
            "curl",
            "-sS",
            "--max-time",
            "5",
            "http://10.89.0.102:18080/hostname",
        ],
    )
    .ok();

    // Volumes, and data that outlives its pod.
    sh("echo kept > /data/file; echo there > /host/file; grep -q ' /scratch tmpfs' /proc/mounts")
        .ok();
    k(&["delete", "pod", "store-0", "--wait=true"]).ok();
    lab.await_pod("work", "store-0");
    assert_eq!(sh("cat /data/file").ok(), "kept");

    // Through the API: logs, cp.
    let pod = k(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ])
    .ok();
    assert!(!k(&["logs", &pod]).ok().is_empty());
    let file = lab.file("payload", "through the API");
    k(&["cp", &file, "store-0:/tmp/payload"]).ok();
    assert_eq!(sh("cat /tmp/payload").ok(), "through the API");

    // A claim that is deleted frees its directory.
    k(&["delete", "statefulset/store", "pvc/data", "--wait=true"]).ok();
    eventually("the volume is removed", || {
        let left = k(&["get", "pv", "-o", "name"]).ok();
        left.is_empty().then_some(()).ok_or(left)
    });
}
