{{/*
Takes every null out of the values, and every map that has nothing else, and makes a map of every group that is absent, so that templates may
read its fields. Helm itself drops a null only where there is a default. Every template begins with this.
*/}}
{{- define "counter.prepare" -}}
{{- include "counter.withoutNull" .Values -}}
{{- range $path := list "global" "image" "counter" "counter.idempotency" "peers" "metrics" "log" "jvm" "service" "auth" "tls" "tls.certificate" "tls.certificate.issuerRef" "rateLimit" "service.sessionAffinityConfig" "persistentVolumeClaimRetentionPolicy" "statefulSet" "headlessService" "servicePerReplica" "ingressPerReplica" "persistence" "persistence.emptyDir" "resources" "startupProbe" "readinessProbe" "livenessProbe" "lifecycle" "podSecurityContext" "containerSecurityContext" "volumePermissions" "serviceAccount" "rbac" "podDisruptionBudget" "networkPolicy" "networkPolicy.apiServer" "affinity" "updateStrategy" "updateStrategy.rollingUpdate" "ingress" "httpRoute" "serviceMonitor" "podMonitor" "prometheusRule" "prometheusRule.alerts" "grafanaDashboard" "tests" -}}
  {{- $map := $.Values -}}
  {{- range $key := splitList "." $path -}}
    {{- if not (hasKey $map $key) }}{{ $_ := set $map $key dict }}{{ end -}}
    {{- $map = get $map $key -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "counter.withoutNull" -}}
{{- range $key, $value := . -}}
  {{- if kindIs "invalid" $value -}}
    {{- $_ := unset $ $key -}}
  {{- else if and (kindIs "map" $value) $value -}}
    {{- include "counter.withoutNull" $value -}}
    {{- if not $value }}{{ $_ := unset $ $key }}{{ end -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{/*
The name of the objects: the release's own, since a release holds one set of counters and "counter" would add nothing to it. In another
chart it carries the alias, so that two aliases differ. At most 52 characters: the controller appends 11 to a StatefulSet's name in a
label, and a label takes 63. A longer name is cut, and a hash of the whole keeps it apart from others that begin alike.
*/}}
{{- define "counter.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
  {{- $name = .Release.Name | replace "." "-" -}}
  {{- if not .Chart.IsRoot -}}
    {{- $name = printf "%s-%s" $name (.Values.nameOverride | default .Chart.Name) -}}
  {{- else if and .Values.nameOverride (not (contains .Values.nameOverride $name)) -}}
    {{- $name = printf "%s-%s" $name .Values.nameOverride -}}
  {{- end -}}
{{- end -}}
{{- if gt (len $name) 52 -}}
  {{- $name = printf "%s-%s" ($name | trunc 43 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name | lower -}}
{{- end }}

{{- define "counter.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "counter.serviceName" -}}
{{ .Values.service.name | default (include "counter.fullname" .) }}
{{- end }}

{{- define "counter.headlessServiceName" -}}
{{ .Values.headlessService.name | default (printf "%s-headless" (include "counter.fullname" .)) }}
{{- end }}

{{- define "counter.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "counter.fullname" .) "default" (.Values.serviceAccount.create | default false)) }}
{{- end }}

{{- define "counter.volumeName" -}}
{{ .Values.persistence.name | default "data" }}
{{- end }}

{{- define "counter.mountPath" -}}
{{ .Values.persistence.mountPath | default "/data" }}
{{- end }}

{{- define "counter.port" -}}
{{ .Values.containerPort | default 8080 | int }}
{{- end }}

{{/* The port that has health and metrics. */}}
{{- define "counter.managementPortName" -}}
{{ ternary "management" "http" (not (empty .Values.managementPort)) }}
{{- end }}

{{- define "counter.scheme" -}}
{{ ternary "https" "http" (not (empty .Values.tls.enabled)) }}
{{- end }}

{{/* The Secret with the certificate. */}}
{{- define "counter.tlsSecretName" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "counter.fullname" .)) }}
{{- end }}

{{/* Where the Secrets are mounted, in the replicas and in the pod of "helm test". */}}
{{- define "counter.tokensPath" -}}
/etc/counter/tokens
{{- end }}
{{- define "counter.tlsPath" -}}
/etc/counter/tls
{{- end }}

{{/* Whole folders, not single files: Kubernetes renews those when the Secret changes, and the service reads them again. */}}
{{- define "counter.secretMounts" -}}
{{- if .Values.auth.existingSecret }}
- name: tokens
  mountPath: {{ include "counter.tokensPath" . }}
  readOnly: true
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: {{ include "counter.tlsPath" . }}
  readOnly: true
{{- end }}
{{- end }}
{{- define "counter.secretVolumes" -}}
{{- with .Values.auth.existingSecret }}
- name: tokens
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "counter.tlsSecretName" . | quote }}
{{- end }}
{{- end }}

{{- define "counter.servicePort" -}}
{{ .Values.service.port | default 5000 | int }}
{{- end }}

{{- define "counter.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry -}}
{{- with .Values.image -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .repository | default "counter-app" }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* A pod's imagePullSecrets, a parent chart's first; each an object with a name, or the name alone. */}}
{{- define "counter.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (.Values.global.imagePullSecrets | default list) (.Values.imagePullSecrets | default list) -}}
  {{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "counter.storageClass" -}}
{{ .Values.global.storageClass | default .Values.persistence.storageClass }}
{{- end }}

{{/* Whether the StatefulSet makes a claim for each replica; empty: no. */}}
{{- define "counter.makesClaims" -}}
{{- with .Values.persistence }}{{ if and .enabled (not .existingClaim) }}yes{{ end }}{{ end -}}
{{- end }}

{{/*
Where the peers come from, "auto" resolved: the chart knows whether it makes the Role that a watch needs, and for whom. The namespace's
default account gets rights only if it is named.
*/}}
{{- define "counter.peersSource" -}}
{{- $source := .Values.peers.source | default "auto" -}}
{{- if ne $source "auto" -}}
{{ $source }}
{{- else if and .Values.rbac.create (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
kubernetes
{{- else -}}
dns
{{- end -}}
{{- end }}

{{/* Selector labels are immutable in a StatefulSet. Never add a label here that can change between chart versions. */}}
{{- define "counter.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The same for the pod of "helm test": another name, so that no service sends it requests. */}}
{{- define "counter.testSelectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (.Values.nameOverride | default .Chart.Name) | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
An object's metadata, of: root, name, namespace unless it is the usual one, labels and annotations of its own, and for services which one
it is. The chart's own labels win.
*/}}
{{- define "counter.metadata" -}}
{{- $labels := include "counter.selectorLabels" .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- with .service }}{{ $_ := set $labels "counterset.io/service" . }}{{ end -}}
{{- $labels = merge $labels (.labels | default dict) (.root.Values.commonLabels | default dict) -}}
name: {{ .name | quote }}
namespace: {{ .namespace | default (include "counter.namespace" .root) | quote }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with merge dict (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The map without its empty texts, to any depth: what a user emptied instead of setting it to null. */}}
{{- define "counter.withoutEmpty" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
  {{- if kindIs "map" $value -}}
    {{- $inner := include "counter.withoutEmpty" $value | fromYaml -}}
    {{- if or $inner (not $value) }}{{ $_ := set $kept $key $inner }}{{ end -}}
  {{- else if ne (toString $value) "" -}}
    {{- $_ := set $kept $key $value -}}
  {{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end }}

{{/* A probe, of: root, path and the values of the probe. */}}
{{- define "counter.probe" -}}
{{- $probe := include "counter.withoutEmpty" (omit .probe "enabled") | fromYaml -}}
{{- if not (or $probe.httpGet $probe.exec $probe.tcpSocket $probe.grpc) -}}
  {{- $get := dict "path" .path "port" (include "counter.managementPortName" .root) -}}
  {{- if and .root.Values.tls.enabled (not .root.Values.managementPort) }}{{ $_ := set $get "scheme" "HTTPS" }}{{ end -}}
  {{- $_ := set $probe "httpGet" $get -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end }}

{{/* The pods' security context; without users and groups where OpenShift assigns them. */}}
{{- define "counter.podSecurityContext" -}}
{{- $context := include "counter.withoutEmpty" .Values.podSecurityContext | fromYaml -}}
{{- if or .Values.openshift .Values.global.openshift }}{{ $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}{{ end -}}
{{- with $context -}}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A container's security context, likewise. */}}
{{- define "counter.containerSecurityContext" -}}
{{- $context := include "counter.withoutEmpty" .Values.containerSecurityContext | fromYaml -}}
{{- if or .Values.openshift .Values.global.openshift }}{{ $context = omit $context "runAsUser" "runAsGroup" }}{{ end -}}
{{- with $context -}}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "counter.resources" -}}
{{- with include "counter.withoutEmpty" . | fromYaml -}}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The hooks: a handler of the user's own replaces the pause, and a kubelet that has no "sleep" runs the command. */}}
{{- define "counter.lifecycle" -}}
{{- $lifecycle := include "counter.withoutEmpty" .Values.lifecycle | fromYaml -}}
{{- $preStop := $lifecycle.preStop | default dict -}}
{{- if gt (len $preStop) 1 }}{{ $_ := unset $preStop "sleep" }}{{ end -}}
{{- with $preStop.sleep -}}
  {{- if semverCompare "<1.30.0-0" $.Capabilities.KubeVersion.Version -}}
    {{- $_ := set $lifecycle "preStop" (dict "exec" (dict "command" (list "sleep" (toString .seconds)))) -}}
  {{- end -}}
{{- end -}}
{{- with $lifecycle -}}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "counter.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if and .Values.podAntiAffinityPreset (not $affinity.podAntiAffinity) -}}
  {{- $term := dict "topologyKey" (.Values.podAntiAffinityTopologyKey | default "kubernetes.io/hostname") "labelSelector" (dict "matchLabels" (include "counter.selectorLabels" . | fromYaml)) -}}
  {{- if eq .Values.podAntiAffinityPreset "hard" -}}
    {{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
  {{- else -}}
    {{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) -}}
  {{- end -}}
{{- end -}}
{{- with include "counter.withoutEmpty" $affinity | fromYaml -}}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "counter.topologySpreadConstraints" -}}
{{- $constraints := list -}}
{{- range .Values.topologySpreadConstraints -}}
  {{- $constraints = append $constraints (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "counter.selectorLabels" $ | fromYaml)))) -}}
{{- end -}}
{{- with $constraints -}}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A text that Kubernetes passes on as it is: in variables and arguments it replaces $(NAME), and $$ by $. */}}
{{- define "counter.literal" -}}
{{ . | replace "$" "$$" | quote }}
{{- end }}

{{/*
What clients may create. A list also has the main counter, which clients may always use: a single name of digits would be read as a number.
*/}}
{{- define "counter.create" -}}
{{- $create := .Values.counter.create -}}
{{- if not (kindIs "slice" $create) -}}
{{ if not (kindIs "invalid" $create) }}{{ int64 $create }}{{ end }}
{{- else if $create -}}
{{ append $create (.Values.counter.name | default "visits") | join "," }}
{{- else -}}
0
{{- end -}}
{{- end }}

{{/*
The settings that a user may choose, as environment variables; an empty one is left to the service's own default. They stand in the pod
template, not in a ConfigMap, so that a changed setting restarts the pods, a canary keeps to its partition, and a rollback brings the
settings back with the image.
*/}}
{{- define "counter.settings" -}}
{{- $settings := dict
  "COUNTER_NAME" .Values.counter.name
  "COUNTER_DURABILITY" .Values.counter.durability
  "COUNTER_MAX_PENDING" .Values.counter.maxPending
  "COUNTER_IDEMPOTENCY_MAX_KEYS" .Values.counter.idempotency.maxKeys
  "COUNTER_IDEMPOTENCY_MAX_AGE" .Values.counter.idempotency.maxAge
  "COUNTER_CREATE" (include "counter.create" .)
  "COUNTER_MAX_AMOUNT" .Values.counter.maxAmount
  "COUNTER_MAX_CONNECTIONS" .Values.counter.maxConnections
  "COUNTER_COUNT_FILE_AHEAD" .Values.counter.countFileAhead
  "COUNTER_PEERS_TIMEOUT" .Values.peers.timeout
  "COUNTER_PEERS_DEADLINE" .Values.peers.deadline
  "COUNTER_PEERS_CONCURRENCY" .Values.peers.concurrency
  "COUNTER_PEERS_REFRESH" .Values.peers.refresh
  "COUNTER_PEERS_LOSS_SHOWN" .Values.peers.lossShown
  "COUNTER_METRICS_COUNTERS" (join "," (.Values.metrics.counters | default list))
  "COUNTER_LOG_FORMAT" .Values.log.format
  "COUNTER_LOG_LEVEL" .Values.log.level
-}}
{{- range $name, $value := $settings }}
{{- if kindIs "float64" $value }}{{ $value = int64 $value }}{{ end }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- name: {{ $name }}
  value: {{ include "counter.literal" (toString $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The environment of the container.

COUNTER_PEERS_EXPECTED only for dns: with the kubernetes source the replicas watch the StatefulSet's spec.replicas, and a number here would
restart every pod whenever one is added. DNS cannot tell how many there should be, so there it is needed.
*/}}
{{- define "counter.env" -}}
- name: COUNTER_INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: KUBERNETES_CLIENT_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: COUNTER_DIRECTORY
  value: {{ include "counter.mountPath" . | quote }}
- name: COUNTER_PEERS_SOURCE
  value: {{ include "counter.peersSource" . | quote }}
- name: COUNTER_PEERS_SERVICE
  value: {{ include "counter.headlessServiceName" . | quote }}
- name: COUNTER_PEERS_STATEFUL_SET
  value: {{ include "counter.fullname" . | quote }}
{{- with .Values.peers.group }}
- name: COUNTER_PEERS_GROUP
  value: {{ include "counter.literal" . }}
{{- end }}
{{- if and (eq (include "counter.peersSource" .) "dns") .Values.replicaCount }}
- name: COUNTER_PEERS_EXPECTED
  value: {{ int .Values.replicaCount | quote }}
{{- end }}
# Names such as "Zürich" in the settings are decoded in it, whatever the image sets.
- name: LANG
  value: C.UTF-8
- name: MICRONAUT_SERVER_PORT
  value: {{ include "counter.port" . | quote }}
{{- with .Values.managementPort }}
- name: COUNTER_MANAGEMENT_PORT
  value: {{ int . | quote }}
{{- end }}
{{- if .Values.auth.existingSecret }}
{{- range $right := ternary (list "write" "peers" "read") (list "write" "peers") (not (empty .Values.auth.protectReads)) }}
- name: {{ printf "COUNTER_TOKENS_%s" (upper $right) }}
  value: {{ printf "%s/%s" (include "counter.tokensPath" $) $right | quote }}
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: COUNTER_TLS_CERTIFICATE
  value: {{ printf "%s/tls.crt" (include "counter.tlsPath" .) | quote }}
- name: COUNTER_TLS_KEY
  value: {{ printf "%s/tls.key" (include "counter.tlsPath" .) | quote }}
{{- with .Values.tls.authorityKey }}
- name: COUNTER_TLS_AUTHORITY
  value: {{ printf "%s/%s" (include "counter.tlsPath" $) . | quote }}
{{- end }}
- name: COUNTER_TLS_PEER_NAME
  value: {{ .Values.tls.peerName | default (include "counter.headlessServiceName" .) | quote }}
{{- end }}
{{- if .Values.rateLimit.requestsPerSecond }}
- name: COUNTER_RATE_LIMIT
  value: {{ int .Values.rateLimit.requestsPerSecond | quote }}
{{- with .Values.rateLimit.burst }}
- name: COUNTER_RATE_BURST
  value: {{ int . | quote }}
{{- end }}
{{- with .Values.rateLimit.address }}
- name: COUNTER_RATE_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.jvm.options }}
- name: JAVA_TOOL_OPTIONS
  value: {{ . | quote }}
{{- end }}
{{- if not (or .Values.existingConfigMap .Values.existingSecret) }}
{{- include "counter.settings" . }}
{{- end }}
{{- end }}

{{/* extraManifests as one text of documents. */}}
{{- define "counter.extraManifests" -}}
{{- range .Values.extraManifests }}
{{- if . }}
---
{{ tpl (ternary . (toYaml .) (kindIs "string" .)) $ }}
{{- end }}
{{- end }}
{{- end }}

{{/* A hash of the ConfigMaps and Secrets among extraManifests; empty when there are none. */}}
{{- define "counter.extraConfigChecksum" -}}
{{- $config := list -}}
{{- range regexSplit "(?m)^---.*$" (include "counter.extraManifests" .) -1 -}}
  {{- $manifest := fromYaml . -}}
  {{- if has $manifest.kind (list "ConfigMap" "Secret") }}{{ $config = append $config $manifest }}{{ end -}}
{{- end -}}
{{- with $config }}{{ toYaml . | sha256sum }}{{ end -}}
{{- end }}
