{{/*
The name of the objects: the release's own, since a release holds one set of counters and "counter" would add nothing to it.
At most 52 characters: the controller puts 11 more behind a StatefulSet's name in a label, and a label takes 63.
*/}}
{{- define "counter.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
  {{- $name = .Release.Name | replace "." "-" -}}
  {{- if and .Values.nameOverride (not (contains .Values.nameOverride $name)) -}}
    {{- $name = printf "%s-%s" $name .Values.nameOverride -}}
  {{- end -}}
{{- end -}}
{{- $name = $name | trunc 52 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
  {{- fail (printf "%s: the name of a service begins with a letter; set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "counter.serviceName" -}}
{{ .Values.service.name | default (include "counter.fullname" .) }}
{{- end }}

{{- define "counter.headlessServiceName" -}}
{{ .Values.headlessService.name | default (printf "%s-headless" (include "counter.fullname" .)) }}
{{- end }}

{{- define "counter.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "counter.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "counter.image" -}}
{{- with .Values.image }}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Where the peers come from, "auto" resolved: the chart knows whether it makes the Role that a watch needs. */}}
{{- define "counter.peersSource" -}}
{{- if ne .Values.peers.source "auto" -}}
{{ .Values.peers.source }}
{{- else -}}
{{ ternary "kubernetes" "dns" .Values.rbac.create }}
{{- end -}}
{{- end }}

{{/* What selects the pods. Immutable in a StatefulSet, so nothing that changes from one version to the next may ever come in here. */}}
{{- define "counter.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The same for the pod of "helm test": another name, so that no service sends it requests. */}}
{{- define "counter.testSelectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* An object's metadata, of: root, name, labels and annotations of its own, component. The chart's own labels win. */}}
{{- define "counter.metadata" -}}
{{- $labels := include "counter.selectorLabels" .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- with .component }}{{ $_ := set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- $labels = merge $labels (.labels | default dict) .root.Values.commonLabels -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with merge dict (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An httpGet probe, of: path and the values of the probe. */}}
{{- define "counter.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
periodSeconds: {{ .probe.periodSeconds }}
timeoutSeconds: {{ .probe.timeoutSeconds }}
failureThreshold: {{ .probe.failureThreshold }}
{{- end }}

{{/*
The settings of the container. They stand in the pod template, not in a ConfigMap, so that a changed setting restarts the pods, a canary
keeps to its partition, and a rollback brings the settings back with the image.

COUNTER_PEERS_EXPECTED only for dns: with the kubernetes source the replicas watch the StatefulSet's spec.replicas, and a number here would
restart every pod whenever one is added. DNS cannot tell how many there should be, and a wrong number would be a lie: there it must.
*/}}
{{- define "counter.env" -}}
- name: COUNTER_DIRECTORY
  value: {{ .Values.persistence.mountPath | quote }}
- name: COUNTER_NAME
  value: {{ .Values.counter.name | quote }}
- name: COUNTER_DURABILITY
  value: {{ .Values.counter.durability | quote }}
- name: COUNTER_MAX_PENDING
  value: {{ int64 .Values.counter.maxPending | quote }}
- name: COUNTER_IDEMPOTENCY_MAX_KEYS
  value: {{ int64 .Values.counter.idempotency.maxKeys | quote }}
- name: COUNTER_IDEMPOTENCY_MAX_AGE
  value: {{ .Values.counter.idempotency.maxAge | quote }}
- name: COUNTER_PEERS_SOURCE
  value: {{ include "counter.peersSource" . | quote }}
- name: COUNTER_PEERS_SERVICE
  value: {{ include "counter.headlessServiceName" . | quote }}
- name: COUNTER_PEERS_STATEFUL_SET
  value: {{ include "counter.fullname" . | quote }}
{{- if and (eq (include "counter.peersSource" .) "dns") .Values.replicas }}
- name: COUNTER_PEERS_EXPECTED
  value: {{ .Values.replicas | quote }}
{{- end }}
- name: COUNTER_PEERS_TIMEOUT
  value: {{ .Values.peers.timeout | quote }}
- name: COUNTER_PEERS_DEADLINE
  value: {{ .Values.peers.deadline | quote }}
- name: COUNTER_PEERS_CONCURRENCY
  value: {{ .Values.peers.concurrency | quote }}
- name: COUNTER_PEERS_REFRESH
  value: {{ .Values.peers.refresh | quote }}
- name: COUNTER_PEERS_LOSS_SHOWN
  value: {{ .Values.peers.lossShown | quote }}
{{- with .Values.metrics.counters }}
- name: COUNTER_METRICS_COUNTERS
  value: {{ join "," . | quote }}
{{- end }}
- name: COUNTER_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: COUNTER_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: MICRONAUT_SERVER_PORT
  value: {{ .Values.containerPort | quote }}
{{- with .Values.jvm.options }}
- name: JAVA_TOOL_OPTIONS
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* A hash of the ConfigMaps and Secrets among extraManifests, or nothing when there are none. */}}
{{- define "counter.extraConfigChecksum" -}}
{{- $config := list -}}
{{- range .Values.extraManifests -}}
  {{- $manifests := list . -}}
  {{- if kindIs "string" . -}}
    {{- $manifests = list -}}
    {{- range regexSplit "(?m)^---.*$" (tpl . $) -1 }}{{ $manifests = append $manifests (fromYaml .) }}{{ end -}}
  {{- end -}}
  {{- range $manifests -}}
    {{- if has .kind (list "ConfigMap" "Secret") }}{{ $config = append $config . }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- with $config }}{{ toYaml . | sha256sum }}{{ end -}}
{{- end }}

{{/* The number of bytes of a quantity: the API server answers 1Gi where 1024Mi was asked, and the two are no change. */}}
{{- define "counter.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- mulf $number (get $units (trimPrefix $number .)) -}}
{{- end }}

{{/* What the schema cannot see: values that contradict each other, or the live StatefulSet, told before anything is changed. */}}
{{- define "counter.validate" -}}
{{- $fullname := include "counter.fullname" . -}}
{{- $source := include "counter.peersSource" . -}}
{{- if and .Values.networkPolicy.enabled (eq $source "kubernetes") (not .Values.networkPolicy.apiServer.cidrs) -}}
  {{- fail "networkPolicy.apiServer.cidrs is empty, so the replicas could not watch their peers: set it to the API server's addresses (kubectl get endpointslices kubernetes -n default), or set peers.source=dns" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
  {{- fail "httpRoute.parentRefs is empty: name the Gateway that the route attaches to" -}}
{{- end -}}
{{- range $reserved := include "counter.env" . | fromYamlArray -}}
  {{- range $.Values.extraEnv -}}
    {{- if eq .name $reserved.name -}}
      {{- fail (printf "extraEnv: %s is set by the chart from its own value; use that one" .name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $volume := concat (list (dict "name" "tmp")) .Values.extraVolumes -}}
  {{- if eq $volume.name $.Values.persistence.name -}}
    {{- fail (printf "persistence.name: a volume %q is there already; choose another name" $volume.name) -}}
  {{- end -}}
{{- end -}}
{{- if .Release.IsUpgrade -}}
  {{- with lookup "apps/v1" "StatefulSet" .Release.Namespace $fullname -}}
    {{- include "counter.validateAgainst" (dict "root" $ "live" .) -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses what Kubernetes would refuse to change in the live StatefulSet, in words that tell what to do. */}}
{{- define "counter.validateAgainst" -}}
{{- $name := .live.metadata.name -}}
{{- $namespace := .live.metadata.namespace -}}
{{- $values := .root.Values -}}
{{- $claim := first (.live.spec.volumeClaimTemplates | default list) | default dict -}}
{{- $size := dig "spec" "resources" "requests" "storage" "0" $claim -}}
{{- $recreate := printf "kubectl -n %s delete statefulset %s --cascade=orphan   # the pods keep running" $namespace $name -}}
{{- $changed := list -}}
{{- $selector := include "counter.selectorLabels" .root | fromYaml -}}
{{- if ne (toJson $selector) (toJson .live.spec.selector.matchLabels) -}}
  {{- $changed = append $changed (printf "the selector, from %s to %s (nameOverride and the release's name make it)" (toJson .live.spec.selector.matchLabels) (toJson $selector)) -}}
{{- end -}}
{{- if ne (include "counter.headlessServiceName" .root) .live.spec.serviceName -}}
  {{- $changed = append $changed (printf "headlessService.name, from %s to %s" .live.spec.serviceName (include "counter.headlessServiceName" .root)) -}}
{{- end -}}
{{- if ne "Parallel" .live.spec.podManagementPolicy -}}
  {{- $changed = append $changed (printf "podManagementPolicy, from %s to Parallel" .live.spec.podManagementPolicy) -}}
{{- end -}}
{{- if ne $values.persistence.name (dig "metadata" "name" "" $claim) -}}
  {{- $changed = append $changed (printf "persistence.name, from %q to %q" (dig "metadata" "name" "" $claim) $values.persistence.name) -}}
{{- end -}}
{{- if ne (toJson $values.persistence.accessModes) (toJson (dig "spec" "accessModes" list $claim)) -}}
  {{- $changed = append $changed (printf "persistence.accessModes, from %s to %s" (toJson (dig "spec" "accessModes" list $claim)) (toJson $values.persistence.accessModes)) -}}
{{- end -}}
{{- $liveClass := "" -}}
{{- with $claim.spec }}{{ if hasKey . "storageClassName" }}{{ $liveClass = .storageClassName | default "-" }}{{ end }}{{ end -}}
{{- if ne $values.persistence.storageClass $liveClass -}}
  {{- $changed = append $changed (printf "persistence.storageClass, from %q to %q" $liveClass $values.persistence.storageClass) -}}
{{- end -}}
{{- range $field := list "labels" "annotations" -}}
  {{- $live := dig "metadata" $field nil $claim | default dict -}}
  {{- if ne (toJson (get $values.persistence $field)) (toJson $live) -}}
    {{- $changed = append $changed (printf "persistence.%s, from %s to %s" $field (toJson $live) (toJson (get $values.persistence $field))) -}}
  {{- end -}}
{{- end -}}
{{- if and (semverCompare "<1.33.0-0" .root.Capabilities.KubeVersion.Version) (ne (int $values.revisionHistoryLimit) (int .live.spec.revisionHistoryLimit)) -}}
  {{- $changed = append $changed (printf "revisionHistoryLimit, from %d to %d" (int .live.spec.revisionHistoryLimit) (int $values.revisionHistoryLimit)) -}}
{{- end -}}
{{- if $changed -}}
  {{- fail (printf "\n\nNothing was changed: Kubernetes does not let a live StatefulSet (%s) change\n  - %s\nSet them as they were. Or make the StatefulSet anew, keeping its claims and counts:\n  %s\nthen run this command again. If the selector or persistence.name is among them, end the old pods, too; if this release was made by another chart, read docs/migrate-from-count-txt.md first.\n" $name (join "\n  - " $changed) $recreate) -}}
{{- end -}}
{{- if ne (include "counter.bytes" $values.persistence.size) (include "counter.bytes" $size) -}}
  {{- $claims := list -}}
  {{- range $ordinal := until (int .live.spec.replicas) }}{{ $claims = append $claims (printf "%s-%s-%d" $values.persistence.name $name $ordinal) }}{{ end -}}
  {{- fail (printf "\n\nNothing was changed: persistence.size is %s, but the volumes of the live StatefulSet %s were made with %s, and Kubernetes does not let that change in place.\nKeep %s. Or, to grow the volumes (they never shrink), if their storage class allows expansion:\n  for claim in %s; do kubectl -n %s patch pvc $claim -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'; done\n  %s\nthen run this command again: the StatefulSet is made anew and takes over the running pods.\n" $values.persistence.size $name $size $size (join " " $claims) $namespace $values.persistence.size $recreate) -}}
{{- end -}}
{{- end }}
