{{/*
What the schema cannot see: values that contradict each other, or the live release. Each definition below is one check and gives its
messages, one a line, or nothing. All messages come at once, before anything is changed.

The checks named live.… look into the cluster, so they run on "helm upgrade" only. They change no object. With "helm template" and in
GitOps tools the API server refuses the same changes itself, in its own words, except for two: see README.md, "GitOps".
*/}}
{{- define "counter.validate" -}}
{{- $messages := list -}}
{{- $checks := list "renamed" "subchart" "replicas" "names" "sizes" "durations" "bytes" "placeholders" "claim" "account" "openshift" "apiServer" "routes" "security" "monitors" "test" "environment" "podSpec" "mounts" "containers" "ports" "duplicates" "manifests" -}}
{{- if .Release.IsUpgrade }}{{ $checks = concat $checks (list "live.statefulSet" "live.size" "live.service") }}{{ end -}}
{{- range $checks -}}
  {{- range include (printf "counter.validate.%s" .) $ | trim | splitList "\n" -}}
    {{- if . }}{{ $messages = append $messages . }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- with $messages -}}
  {{- fail (printf "\n\nNothing was changed: these values cannot be used.\n\n* %s\n" (join "\n* " . | replace "\\n" "\n  ")) -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.renamed" -}}
{{- range $old, $new := dict
  "replicas" "replicaCount"
  "persistentVolume" "persistence"
  "ingress.ingressClassName" "ingress.className"
  "sidecars" "extraContainers"
  "initContainers" "extraInitContainers"
  "extraDeploy" "extraManifests"
  "extraObjects" "extraManifests"
  "image.pullSecrets" "imagePullSecrets, a list of objects with a name"
  "securityContext" "containerSecurityContext"
  "topologySpread" "topologySpreadConstraints, as Kubernetes spells them"
  "updateStrategy.partition" "updateStrategy.rollingUpdate.partition"
  "persistence.retention" "persistentVolumeClaimRetentionPolicy, beside persistence"
-}}
  {{- $path := splitList "." $old -}}
  {{- $group := ternary $.Values (get $.Values (first $path)) (eq (len $path) 1) -}}
  {{- if hasKey $group (last $path) }}
{{ $old }} is spelt {{ $new }}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.subchart" -}}
{{- if and .Chart.IsRoot (hasKey .Values "enabled") }}
enabled is for a parent chart's condition; to remove the release, use "helm uninstall"
{{- end -}}
{{- end }}

{{- define "counter.validate.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount }}
replicaCount is missing; without it Kubernetes would run one replica and strand the counts of the others
{{- end -}}
{{- end }}

{{- define "counter.validate.names" -}}
{{- $name := include "counter.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{ $name | quote }} cannot be the name of a service, which has letters, digits and dashes and begins with a letter; set fullnameOverride
{{- end -}}
{{- if eq (include "counter.serviceName" .) (include "counter.headlessServiceName" .) }}
service.name and headlessService.name are both {{ include "counter.serviceName" . | quote }}; the two services need different names
{{- end -}}
{{- if or .Values.servicePerReplica.enabled .Values.ingressPerReplica.enabled -}}
  {{- range list (include "counter.serviceName" .) (include "counter.headlessServiceName" .) -}}
    {{- if regexMatch (printf "^%s-[0-9]+$" $name) . }}
service.name or headlessService.name is {{ . | quote }}, which is the name of a replica's own service; choose another name
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The number of bytes of a quantity: the API server answers 1Gi where 1024Mi was requested, and the two are no change. */}}
{{- define "counter.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- mulf $number (get $units (trimPrefix $number .)) -}}
{{- end }}

{{- define "counter.validate.sizes" -}}
{{- with .Values.persistence.size -}}
{{- if lt (include "counter.bytes" . | float64) 20971520.0 }}
persistence.size: '{{ . }}' is invalid; expected at least 20Mi, since a start writes a second journal of 8 MiB beside the first
{{- end -}}
{{- end -}}
{{- end }}

{{/* Milliseconds of a duration such as 250ms, 2s, 1m, 24h or 7d. */}}
{{- define "counter.milliseconds" -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) (regexFind "[a-z]+$" .)) -}}
{{- end }}

{{/* The bounds are the service's own, which ends with a message when a setting is outside them. */}}
{{- define "counter.validate.durations" -}}
{{- $timeout := .Values.peers.timeout | default "1s" -}}
{{- range list
  (list "counter.durability" .Values.counter.durability "1ms" "1h")
  (list "counter.idempotency.maxAge" .Values.counter.idempotency.maxAge "1s" "3650d")
  (list "peers.timeout" .Values.peers.timeout "10ms" "30s")
  (list "peers.deadline" .Values.peers.deadline $timeout "60s")
  (list "peers.refresh" .Values.peers.refresh "1s" "1d")
  (list "peers.lossShown" .Values.peers.lossShown "0s" "365d")
-}}
  {{- $value := index . 1 -}}
  {{- if and $value (not (has $value (list "sync" "0s"))) -}}
    {{- $milliseconds := include "counter.milliseconds" $value | int64 -}}
    {{- if or (lt $milliseconds (include "counter.milliseconds" (index . 2) | int64)) (gt $milliseconds (include "counter.milliseconds" (index . 3) | int64)) }}
{{ index . 0 }}: '{{ $value }}' is invalid; expected a duration from {{ ternary (printf "peers.timeout (%s)" $timeout) (index . 2) (eq (index . 0) "peers.deadline") }} to {{ index . 3 }}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.bytes" -}}
{{- range $name, $values := dict "counter.name" (list .Values.counter.name) "tests.counter" (list .Values.tests.counter) "metrics.counters" .Values.metrics.counters "counter.create" (ternary .Values.counter.create list (kindIs "slice" .Values.counter.create)) -}}
  {{- range $values -}}
    {{- if gt (len (. | default "")) 128 }}
{{ $name }}: '{{ . }}' is invalid; expected at most 128 bytes of UTF-8
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* The service refuses placeholders, which it would not replace. */}}
{{- define "counter.validate.placeholders" -}}
{{- $create := ternary .Values.counter.create list (kindIs "slice" .Values.counter.create) -}}
{{- range $name, $values := dict "counter.name" (list .Values.counter.name) "counter.create" $create "metrics.counters" .Values.metrics.counters "peers.group" (list .Values.peers.group) -}}
  {{- range $values -}}
    {{- if contains "${" (. | default "") }}
{{ $name }}: '{{ . }}' is invalid; expected a text without ${
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.claim" -}}
{{- if and .Values.persistence.existingClaim (gt (.Values.replicaCount | default 0 | int) 1) }}
persistence.existingClaim is one volume, but each replica needs its own; set replicaCount=1
{{- end -}}
{{- end }}

{{- define "counter.validate.account" -}}
{{- if and (eq (.Values.peers.source | default "auto") "kubernetes") .Values.rbac.create (not (or .Values.serviceAccount.create .Values.serviceAccount.name)) }}
peers.source=kubernetes needs rights, which the chart gives to the namespace's default account only if it is named; set serviceAccount.create=true, or serviceAccount.name, or rbac.create=false
{{- end -}}
{{- end }}

{{- define "counter.validate.openshift" -}}
{{- if and .Values.volumePermissions.enabled (or .Values.openshift .Values.global.openshift) }}
volumePermissions.enabled needs root and a known user, and OpenShift allows neither; leave it out, because OpenShift makes the user that it assigns the owner of the volume
{{- end -}}
{{- end }}

{{- define "counter.validate.apiServer" -}}
{{- if and .Values.networkPolicy.enabled (eq (include "counter.peersSource" .) "kubernetes") (not .Values.networkPolicy.apiServer.cidrs) }}
networkPolicy.apiServer.cidrs is empty, so the replicas cannot watch their peers; set it to the API server's addresses (kubectl get endpointslices kubernetes -n default), or set peers.source=dns
{{- end -}}
{{- end }}

{{- define "counter.validate.routes" -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.parentRefs is empty; name the Gateway that the route attaches to
{{- end -}}
{{- if and .Values.ingressPerReplica.enabled (not .Values.ingressPerReplica.domain) }}
ingressPerReplica.domain is empty; the host of each replica is POD.domain
{{- end -}}
{{- end }}

{{- define "counter.validate.security" -}}
{{- if and .Values.auth.protectReads (not .Values.auth.existingSecret) }}
auth.protectReads needs tokens; name their Secret in auth.existingSecret
{{- end -}}
{{- with .Values.tls -}}
{{- if and .enabled (not .existingSecret) (not .certificate.enabled) }}
tls.enabled needs a certificate; name its Secret in tls.existingSecret, or set tls.certificate.enabled=true where cert-manager runs
{{- end -}}
{{- if and .enabled .certificate.enabled (not .certificate.issuerRef.name) }}
tls.certificate.issuerRef.name is empty; name the cert-manager issuer
{{- end -}}
{{- if and .certificate.enabled (not .enabled) }}
tls.certificate.enabled makes a certificate that nothing uses; set tls.enabled=true
{{- end -}}
{{- end -}}
{{- with .Values.managementPort -}}
{{- if eq (int .) (include "counter.port" $ | int) }}
managementPort and containerPort are both {{ int . }}; choose two ports
{{- end -}}
{{- end -}}
{{- if and (or .Values.rateLimit.burst .Values.rateLimit.address) (not .Values.rateLimit.requestsPerSecond) }}
rateLimit.burst and rateLimit.address do nothing without rateLimit.requestsPerSecond
{{- end -}}
{{- $endpoint := .Values.serviceMonitor.endpoint | default dict -}}
{{- if and .Values.auth.protectReads (not .Values.managementPort) (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) (not (or $endpoint.authorization $endpoint.basicAuth $endpoint.bearerTokenSecret)) }}
auth.protectReads keeps Prometheus from reading the metrics; set managementPort, or give Prometheus a token with serviceMonitor.endpoint.authorization
{{- end -}}
{{- end }}

{{- define "counter.validate.monitors" -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
serviceMonitor.enabled and podMonitor.enabled together would scrape each replica twice; choose one
{{- end -}}
{{- end }}

{{/* The test counts once, which creates its counter. Settings from elsewhere are unknown here. */}}
{{- define "counter.validate.test" -}}
{{- $create := .Values.counter.create -}}
{{- $counter := .Values.tests.counter | default "helm-test" -}}
{{- $configured := concat (list (.Values.counter.name | default "visits")) (.Values.metrics.counters | default list) -}}
{{- if and .Values.tests.enabled (not (kindIs "invalid" $create)) (not (or .Values.existingConfigMap .Values.existingSecret)) (not (has $counter $configured)) -}}
  {{- if kindIs "slice" $create -}}
    {{- if not (has $counter $create) }}
counter.create lists the counters that clients may create, and tests.counter ({{ $counter | quote }}) is not among them, so "helm test" would fail; add it, or set tests.enabled=false
    {{- end -}}
  {{- else if eq (int $create) 0 }}
counter.create=0 lets clients create no counter, so "helm test" would fail; set tests.counter to counter.name, which it then increments, or set tests.enabled=false
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.environment" -}}
{{- $own := include "counter.env" . | fromYamlArray -}}
{{- range .Values.extraEnv -}}
  {{- $extra := . -}}
  {{- range $own -}}
    {{- if eq .name $extra.name }}
extraEnv: {{ .name }} is set by the chart; use the chart's value for it
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.podSpec" -}}
{{- range $field, $_ := .Values.extraPodSpec -}}
  {{- if has $field (list "affinity" "automountServiceAccountToken" "containers" "dnsConfig" "dnsPolicy" "enableServiceLinks" "hostAliases" "imagePullSecrets" "initContainers" "nodeSelector" "priorityClassName" "runtimeClassName" "schedulerName" "securityContext" "serviceAccountName" "terminationGracePeriodSeconds" "tolerations" "topologySpreadConstraints" "volumes") }}
extraPodSpec.{{ $field }} is set by the chart; use the chart's value for it
  {{- else if has $field (list "hostname" "nodeName" "restartPolicy" "serviceAccount" "subdomain") }}
extraPodSpec.{{ $field }} cannot be chosen for the pods of a StatefulSet; leave it out
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.mounts" -}}
{{- $own := list "tmp" "tokens" "tls" (include "counter.volumeName" .) -}}
{{- if has (include "counter.volumeName" .) (list "tmp" "tokens" "tls") }}
persistence.name: '{{ include "counter.volumeName" . }}' is invalid; the chart has another volume of that name
{{- end -}}
{{- if has (include "counter.mountPath" . | trimSuffix "/") (list "" "/tmp" "/app" (include "counter.tokensPath" .) (include "counter.tlsPath" .)) }}
persistence.mountPath: '{{ include "counter.mountPath" . }}' is invalid; the image has its own files there
{{- end -}}
{{- range .Values.extraVolumes -}}
  {{- if has .name $own }}
extraVolumes: {{ .name | quote }} is a volume of the chart; choose another name
  {{- end -}}
{{- end -}}
{{- range .Values.extraVolumeMounts -}}
  {{- if has (trimSuffix "/" .mountPath) (list "/tmp" "/app" (include "counter.tokensPath" $) (include "counter.tlsPath" $) (include "counter.mountPath" $ | trimSuffix "/")) }}
extraVolumeMounts: {{ .mountPath | quote }} is in use by the chart or the image; choose another path
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.containers" -}}
{{- range $value, $own := dict "extraContainers" (list "counter" "volume-permissions" "import-count") "extraInitContainers" (list "counter" "volume-permissions" "import-count") -}}
  {{- range get $.Values $value | default list -}}
    {{- if has .name $own }}
{{ $value }}: {{ .name | quote }} is a container of the chart; choose another name
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.ports" -}}
{{- range .Values.extraContainers -}}
  {{- range .ports -}}
    {{- if or (has (.name | default "") (list "http" "management")) (eq (int .containerPort) (include "counter.port" $ | int)) (eq (int .containerPort) (int $.Values.managementPort)) }}
extraContainers: port {{ .name | default "" | quote }} ({{ .containerPort }}) collides with the service's own, "http" ({{ include "counter.port" $ }}) and "management" ({{ $.Values.managementPort | default "none" }})
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range .Values.service.extraPorts -}}
  {{- if or (eq (.name | default "") "http") (eq (int .port) (include "counter.servicePort" $ | int)) }}
service.extraPorts: port {{ .name | default "" | quote }} ({{ .port }}) collides with the service's own, "http" ({{ include "counter.servicePort" $ }})
  {{- end -}}
{{- end -}}
{{- end }}

{{/* Server-side apply refuses an object in which one of these is listed twice, and so does the API server for most of them. */}}
{{- define "counter.validate.duplicates" -}}
{{- $containers := concat (.Values.extraContainers | default list) (.Values.extraInitContainers | default list) -}}
{{- range list
  (list "extraEnv" "name" .Values.extraEnv)
  (list "extraVolumes" "name" .Values.extraVolumes)
  (list "extraVolumeMounts" "mountPath" .Values.extraVolumeMounts)
  (list "extraContainers and extraInitContainers" "name" $containers)
  (list "service.extraPorts" "name" .Values.service.extraPorts)
  (list "hostAliases" "ip" .Values.hostAliases)
-}}
  {{- $seen := list -}}
  {{- $entry := . -}}
  {{- range index . 2 -}}
    {{- $key := get . (index $entry 1) -}}
    {{- if has $key $seen }}
{{ index $entry 0 }}: {{ $key | quote }} is listed twice
    {{- end -}}
    {{- $seen = append $seen $key -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.manifests" -}}
{{- if .Values.extraManifests -}}
{{- $name := include "counter.fullname" . -}}
{{- $own := list (printf "ServiceAccount/%s" (include "counter.serviceAccountName" .)) (printf "Service/%s" (include "counter.serviceName" .)) (printf "Service/%s" (include "counter.headlessServiceName" .)) (printf "ConfigMap/%s-dashboard" $name) (printf "Pod/%s-test" $name) -}}
{{- range list "StatefulSet" "Role" "RoleBinding" "PodDisruptionBudget" "NetworkPolicy" "Ingress" "HTTPRoute" "Certificate" "ServiceMonitor" "PodMonitor" "PrometheusRule" }}{{ $own = append $own (printf "%s/%s" . $name) }}{{ end -}}
{{- range regexSplit "(?m)^---.*$" (include "counter.extraManifests" .) -1 -}}
  {{- $manifest := fromYaml . -}}
  {{- with $manifest.metadata -}}
    {{- if and (has (printf "%s/%v" $manifest.kind .name) $own) (eq (.namespace | default (include "counter.namespace" $)) (include "counter.namespace" $)) }}
extraManifests: {{ $manifest.kind }} {{ .name | quote }} has the name of an object of the chart; choose another name
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What Kubernetes does not let change in a StatefulSet, in words that say what to do. */}}
{{- define "counter.validate.live.statefulSet" -}}
{{- with lookup "apps/v1" "StatefulSet" (include "counter.namespace" .) (include "counter.fullname" .) -}}
{{- $claim := first (.spec.volumeClaimTemplates | default list) | default dict -}}
{{- $persistence := $.Values.persistence -}}
{{- $changed := list -}}
{{- $selector := include "counter.selectorLabels" $ | fromYaml -}}
{{- if ne (toJson $selector) (toJson .spec.selector.matchLabels) -}}
  {{- $changed = append $changed (printf "the selector, from %s to %s (nameOverride and the release's name make it)" (toJson .spec.selector.matchLabels) (toJson $selector)) -}}
{{- end -}}
{{- if ne (include "counter.headlessServiceName" $) .spec.serviceName -}}
  {{- $changed = append $changed (printf "headlessService.name, from %s to %s" .spec.serviceName (include "counter.headlessServiceName" $)) -}}
{{- end -}}
{{- if ne "Parallel" .spec.podManagementPolicy -}}
  {{- $changed = append $changed (printf "podManagementPolicy, from %s to Parallel" .spec.podManagementPolicy) -}}
{{- end -}}
{{- if ne (empty $claim) (empty (include "counter.makesClaims" $)) -}}
  {{- $changed = append $changed "persistence.enabled or persistence.existingClaim, which decide whether each replica has a claim" -}}
{{- else if $claim -}}
  {{- $liveClass := "" -}}
  {{- if hasKey $claim.spec "storageClassName" }}{{ $liveClass = $claim.spec.storageClassName | default "-" }}{{ end -}}
  {{- if ne (include "counter.storageClass" $) $liveClass -}}
    {{- $changed = append $changed (printf "persistence.storageClass, from %q to %q (the chart's README, \"Growing and changing volumes\", says how to move the counts)" $liveClass (include "counter.storageClass" $)) -}}
  {{- end -}}
  {{- range $field, $values := dict
    "name" (list $claim.metadata.name (include "counter.volumeName" $))
    "accessModes" (list $claim.spec.accessModes ($persistence.accessModes | default (list "ReadWriteOnce")))
    "labels" (list ($claim.metadata.labels | default dict) ($persistence.labels | default dict))
    "annotations" (list ($claim.metadata.annotations | default dict) ($persistence.annotations | default dict))
    "selector" (list ($claim.spec.selector | default dict) ($persistence.selector | default dict))
    "dataSource" (list ($claim.spec.dataSource | default dict) ($persistence.dataSource | default dict))
  -}}
    {{- if ne (toJson (first $values)) (toJson (last $values)) -}}
      {{- $changed = append $changed (printf "persistence.%s, from %s to %s" $field (toJson (first $values)) (toJson (last $values))) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and (semverCompare "<1.33.0-0" $.Capabilities.KubeVersion.Version) (not (kindIs "invalid" $.Values.revisionHistoryLimit)) (ne (int $.Values.revisionHistoryLimit) (int .spec.revisionHistoryLimit)) -}}
  {{- $changed = append $changed (printf "revisionHistoryLimit, from %d to %d" (int .spec.revisionHistoryLimit) (int $.Values.revisionHistoryLimit)) -}}
{{- end -}}
{{- if $changed }}
Kubernetes does not let a live StatefulSet ({{ .metadata.name }}) change\n  - {{ join "\\n  - " $changed }}\nSet them as they were. Or make the StatefulSet again, keeping its claims and counts:\n  kubectl -n {{ .metadata.namespace }} delete statefulset {{ .metadata.name }} --cascade=orphan   # the pods keep running\nthen run this command again. If the selector or persistence.name is among them, delete the old pods, too. If another chart made this release, read docs/migrate-from-count-txt.md first.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.live.size" -}}
{{- with lookup "apps/v1" "StatefulSet" (include "counter.namespace" .) (include "counter.fullname" .) -}}
{{- $claim := first (.spec.volumeClaimTemplates | default list) -}}
{{- $size := $.Values.persistence.size | default "1Gi" -}}
{{- if and $claim (include "counter.makesClaims" $) -}}
{{- $live := $claim.spec.resources.requests.storage -}}
{{- if and (eq $claim.metadata.name (include "counter.volumeName" $)) (ne (include "counter.bytes" $size) (include "counter.bytes" $live)) -}}
  {{- $claims := list -}}
  {{- $name := .metadata.name -}}
  {{- range $ordinal := until (int .spec.replicas) }}{{ $claims = append $claims (printf "%s-%s-%d" $claim.metadata.name $name $ordinal) }}{{ end }}
persistence.size is {{ $size }}, but the volumes of the live StatefulSet {{ $name }} were made with {{ $live }}, and Kubernetes does not let that change in place.\nKeep {{ $live }}. Or, to grow the volumes (they never shrink), if their storage class allows expansion:\n  for claim in {{ join " " $claims }}; do kubectl -n {{ .metadata.namespace }} patch pvc $claim -p '{"spec":{"resources":{"requests":{"storage":"{{ $size }}"}}}}'; done\n  kubectl -n {{ .metadata.namespace }} delete statefulset {{ $name }} --cascade=orphan   # the pods keep running\nthen run this command again: the new StatefulSet takes over the running pods.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.validate.live.service" -}}
{{- with lookup "v1" "Service" (include "counter.namespace" .) (include "counter.serviceName" .) -}}
{{- $live := .spec -}}
{{- range $field := list "clusterIP" "loadBalancerClass" -}}
  {{- $value := get $.Values.service $field -}}
  {{- if and $value (get $live $field) (ne $value (get $live $field)) (eq $live.type (toString $.Values.service.type)) }}
Kubernetes does not let a live service change service.{{ $field }}, from {{ get $live $field }} to {{ $value }}; set it as it was, or delete the service first
  {{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
