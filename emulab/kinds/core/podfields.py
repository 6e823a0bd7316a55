"""What of a Pod's `spec`, and of a template's, is followed."""

from __future__ import annotations

from emulab.kinds.following import FOLLOWED, METADATA, FollowedFields, ignored_unless, table

_HTTP = table(followed="host httpHeaders path port scheme")

_PROBE = table(
    followed="exec failureThreshold grpc initialDelaySeconds periodSeconds successThreshold tcpSocket"
    " terminationGracePeriodSeconds timeoutSeconds",
    httpGet=_HTTP,
)

_CONTAINER = table(
    followed="args command env.name env.value env.valueFrom.configMapKeyRef env.valueFrom.fieldRef"
    " env.valueFrom.resourceFieldRef env.valueFrom.secretKeyRef envFrom image imagePullPolicy lifecycle.postStart"
    " lifecycle.preStop lifecycle.stopSignal name ports.containerPort ports.hostIP ports.hostPort ports.name"
    " ports.protocol resources.limits resources.requests terminationMessagePath terminationMessagePolicy"
    " volumeMounts.mountPath volumeMounts.name"
    " volumeMounts.readOnly volumeMounts.subPath volumeMounts.subPathExpr workingDir"
    " securityContext.allowPrivilegeEscalation securityContext.capabilities securityContext.privileged"
    " securityContext.procMount securityContext.readOnlyRootFilesystem securityContext.runAsGroup"
    " securityContext.runAsNonRoot securityContext.runAsUser securityContext.seccompProfile",
    kept="resizePolicy",
    ignored={
        "env.valueFrom.fileKeyRef": "the variable isn't set",
        "resources.claims": "there are no such devices",
        "securityContext.seLinuxOptions": "programs have no labels",
        "securityContext.appArmorProfile": "programs have no profile",
        "securityContext.windowsOptions": "programs run on Linux",
        "stdin": "programs read an empty standard input",
        "stdinOnce": "programs read an empty standard input",
        "tty": "programs have no terminal",
        "volumeDevices": "programs see no block devices",
        "volumeMounts.mountPropagation": "what is mounted on either side isn't seen on the other",
        "volumeMounts.recursiveReadOnly": "what is mounted below is as read-only as readOnly makes it",
    },
    livenessProbe=_PROBE,
    readinessProbe=_PROBE,
    startupProbe=_PROBE,
)

_WHOLE_CONTAINER = {**_CONTAINER, "restartPolicy": FOLLOWED, "restartPolicyRules": FOLLOWED}

_NO_SUCH = "a Pod with a program that sees it isn't started: a lab has none of these"

_VOLUME = table(
    followed="configMap downwardAPI emptyDir.medium emptyDir.sizeLimit ephemeral hostPath name"
    " persistentVolumeClaim projected.defaultMode projected.sources.configMap projected.sources.downwardAPI"
    " projected.sources.secret projected.sources.serviceAccountToken secret",
    ignored={
        "projected.sources.clusterTrustBundle": "the file isn't there",
        "projected.sources.podCertificate": "the file isn't there",
        **dict.fromkeys(
            (
                *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc"),
                *("flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image", "iscsi"),
                *("nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO"),
                *("storageos", "vsphereVolume"),
            ),
            _NO_SUCH,
        ),
    },
)

_POD_AFFINITY = table(
    followed=" ".join(
        f"requiredDuringSchedulingIgnoredDuringExecution.{field}"
        for field in ("labelSelector", "namespaces", "topologyKey")
    ),
    ignored={
        "preferredDuringSchedulingIgnoredDuringExecution": "the scheduler has no such preference",
        **{
            f"requiredDuringSchedulingIgnoredDuringExecution.{field}": "the scheduler doesn't look at it"
            for field in ("matchLabelKeys", "mismatchLabelKeys", "namespaceSelector")
        },
    },
)

POD_FIELDS: FollowedFields = table(
    followed="activeDeadlineSeconds affinity.nodeAffinity dnsConfig dnsPolicy enableServiceLinks hostAliases"
    " hostNetwork hostname hostnameOverride nodeName nodeSelector overhead readinessGates resources.limits"
    " resources.requests restartPolicy schedulingGates"
    " serviceAccount serviceAccountName setHostnameAsFQDN subdomain terminationGracePeriodSeconds"
    " tolerations topologySpreadConstraints.labelSelector topologySpreadConstraints.matchLabelKeys"
    " topologySpreadConstraints.maxSkew topologySpreadConstraints.minDomains"
    " topologySpreadConstraints.nodeAffinityPolicy topologySpreadConstraints.topologyKey"
    " topologySpreadConstraints.whenUnsatisfiable hostIPC hostPID hostUsers shareProcessNamespace"
    " securityContext.fsGroup securityContext.fsGroupChangePolicy securityContext.runAsGroup"
    " securityContext.runAsNonRoot securityContext.runAsUser securityContext.seccompProfile"
    " securityContext.supplementalGroups securityContext.supplementalGroupsPolicy securityContext.sysctls",
    # Images aren't pulled.
    kept="imagePullSecrets os topologySpreadConstraints.nodeTaintsPolicy",
    ignored={
        "automountServiceAccountToken": "no token is mounted, as there is no API server",
        "ephemeralContainers": "they aren't run",
        "preemptionPolicy": ignored_unless("PreemptLowerPriority", "no Pod makes room for another"),
        "priority": "no Pod makes room for another",
        "priorityClassName": "no Pod makes room for another",
        "resourceClaims": "there are no such devices",
        "resources.claims": "there are no such devices",
        "runtimeClassName": "programs run as all others",
        "schedulerName": ignored_unless("default-scheduler", "emulab's scheduler places it"),
        "securityContext.appArmorProfile": "programs have no profile",
        "securityContext.seLinuxChangePolicy": "volumes have no labels",
        "securityContext.seLinuxOptions": "programs have no labels",
        "securityContext.windowsOptions": "programs run on Linux",
        "workloadRef": "each Pod is placed by itself",
    },
    affinity__podAffinity=_POD_AFFINITY,
    affinity__podAntiAffinity=_POD_AFFINITY,
    containers=_WHOLE_CONTAINER,
    initContainers=_WHOLE_CONTAINER,
    volumes=_VOLUME,
)

TEMPLATE_FIELDS = table(metadata=METADATA, spec=POD_FIELDS)
