// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Wrong values are rejected with a message that names the value and the error. */
class SchemaTest {

    private static final JsonNode SCHEMA = Chart.read("values.schema.json");

    /** Objects of the Kubernetes API that are passed through unchanged. */
    private static final List<String> NOT_THE_CHARTS = List.of(
            "/affinity/nodeAffinity",
            "/affinity/podAffinity",
            "/affinity/podAntiAffinity",
            "/extraContainers/0",
            "/extraEnv/0/valueFrom",
            "/extraEnvFrom/0/configMapRef",
            "/extraEnvFrom/0/secretRef",
            "/extraInitContainers/0",
            "/extraPodSpec",
            "/extraVolumes/0",
            "/global",
            "/httpRoute/rules/0/filters/0",
            "/httpRoute/rules/0/matches/0",
            "/ingress/extraPaths/0",
            "/lifecycle/postStart",
            "/lifecycle/preStop",
            "/containerSecurityContext/windowsOptions",
            "/livenessProbe/exec",
            "/livenessProbe/grpc",
            "/livenessProbe/httpGet",
            "/livenessProbe/tcpSocket",
            "/networkPolicy/extraEgress/0/ports/0",
            "/networkPolicy/extraIngress/0/ports/0",
            "/podSecurityContext/windowsOptions",
            "/prometheusRule/additionalRules/0",
            "/readinessProbe/exec",
            "/readinessProbe/grpc",
            "/readinessProbe/httpGet",
            "/readinessProbe/tcpSocket",
            "/serviceMonitor/endpoint",
            "/tls/certificate/spec",
            "/serviceMonitor/metricRelabelings/0",
            "/serviceMonitor/relabelings/0",
            "/serviceMonitor/spec",
            "/startupProbe/exec",
            "/startupProbe/grpc",
            "/startupProbe/httpGet",
            "/startupProbe/tcpSocket");

    /** A place in the values that contains an object. */
    record Place(String pointer, JsonNode schema) {
        @Override
        public String toString() {
            return pointer.isEmpty() ? "the values" : pointer;
        }
    }

    /**
     * Returns every object in the schema as a JSON pointer into the values; lists by their first
     * element.
     */
    private static List<Place> objects() {
        List<Place> places = new ArrayList<>();
        walk("", SCHEMA, places);
        return places;
    }

    private static void walk(String pointer, JsonNode schema, List<Place> places) {
        if (schema.has("$ref")) {
            walk(pointer, SCHEMA.at(schema.path("$ref").asText().substring(1)), places);
            return;
        }
        if (schema.path("type").toString().contains("\"object\"")) {
            places.add(new Place(pointer, schema));
        }
        schema.path("properties").properties().forEach(e -> walk(pointer + "/" + e.getKey(), e.getValue(), places));
        if (schema.has("items")) {
            walk(pointer + "/0", schema.path("items"), places);
        }
    }

    static Stream<Place> strictObjects() {
        return objects().stream()
                .filter(place -> place.schema.path("additionalProperties").isBoolean());
    }

    @Test
    void everyObjectIsStrictOrAMapOrOfKubernetes() {
        assertThat(objects().stream()
                        .filter(place ->
                                place.schema.path("additionalProperties").isMissingNode())
                        .map(Place::pointer))
                .containsExactlyInAnyOrderElementsOf(NOT_THE_CHARTS);
    }

    @ParameterizedTest
    @MethodSource("strictObjects")
    void rejectsUnknownKeys(Place place) {
        StringBuilder values = new StringBuilder();
        String end = "";
        for (String step : place.pointer.isEmpty()
                ? new String[0]
                : place.pointer.substring(1).split("/")) {
            boolean list = step.equals("0");
            values.append(list ? "[" : "{\"" + step + "\": ");
            end = (list ? "]" : "}") + end;
        }
        values.append("{\"misspelt\": 1}").append(end);

        assertThatThrownBy(() -> Chart.render("app-python", values.toString()))
                .hasMessageContaining("at '" + place.pointer + "'")
                .hasMessageContaining("additional properties 'misspelt' not allowed");
    }

    @Test
    void theSchemaHasExactlyTheValues() {
        Set<String> values = fields(Chart.read("values.yaml"));
        // Set by Helm in a subchart.
        values.addAll(List.of("enabled", "global"));
        Set<String> accepted = fields(SCHEMA.path("properties"));
        accepted.removeIf(
                name -> SCHEMA.at("/properties/" + name + "/$ref").asText().endsWith("/renamed"));

        assertThat(accepted).isEqualTo(values);
    }

    private static Set<String> fields(JsonNode object) {
        Set<String> fields = new TreeSet<>();
        object.fieldNames().forEachRemaining(fields::add);
        return fields;
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "replicaCount: three | at '/replicaCount': got string, want null or integer",
                "replicaCount: -1 | at '/replicaCount': minimum: got -1, want 0",
                "replicaCount: 1001 | at '/replicaCount': maximum: got 1,001, want 1,000",
                "replicaCount: 2.5 | at '/replicaCount': got number, want null or integer",
                "image: {pullPolicy: Sometimes} | at '/image/pullPolicy': value must be one of '', 'Always', 'IfNotPresent', 'Never'",
                "image: {digest: 'sha256:abc'} | at '/image/digest': 'sha256:abc' does not match pattern",
                "image: {tag: 1.0} | at '/image/tag': got number, want null or string",
                "counter: {name: 3} | at '/counter/name': got number, want null or string",
                "counter: {create: [' ']} | at '/counter/create/0': ' ' does not match pattern",
                "metrics: {counters: [' ']} | at '/metrics/counters/0': ' ' does not match pattern",
                "peers: {group: ' a'} | at '/peers/group': ' a' does not match pattern",
                "counter: {durability: often} | at '/counter/durability': 'often' does not match pattern",
                "counter: {idempotency: {maxKeys: 0}} | at '/counter/idempotency/maxKeys': minimum: got 0, want 1",
                "counter: {maxPending: 100001} | at '/counter/maxPending': maximum: got 100,001, want 100,000",
                "peers: {timeout: 1} | at '/peers/timeout': got number, want null or string",
                "peers: {concurrency: 0} | at '/peers/concurrency': minimum: got 0, want 1",
                "peers: {refresh: '0'} | at '/peers/refresh': '0' does not match pattern",
                "metrics: {counters: ['a,b']} | at '/metrics/counters/0': 'a,b' does not match pattern",
                "log: {level: all} | at '/log/level': value must be one of '', 'error', 'warn', 'info', 'debug', 'trace'",
                "peers: {source: static} | at '/peers/source': value must be one of '', 'auto', 'kubernetes', 'dns'",
                "containerPort: 80 | at '/containerPort': minimum: got 80, want 1,024",
                "service: {type: ExternalName} | at '/service/type': value must be one of '', 'LoadBalancer', 'NodePort', 'ClusterIP'",
                "service: {clusterIP: None} | at '/service/clusterIP': 'None' does not match pattern",
                "service: {port: '5000'} | at '/service/port': got string, want null or integer",
                "service: {loadBalancerSourceRanges: [everyone]} | at '/service/loadBalancerSourceRanges/0': 'everyone' does not match pattern",
                "service: {annotations: {a: true}} | at '/service/annotations/a': got boolean, want null or string",
                "persistence: {size: big} | at '/persistence/size': 'big' does not match pattern",
                "persistence: {importFrom: /etc/passwd} | at '/persistence/importFrom': '/etc/passwd' does not match pattern",
                "persistence: {accessModes: [ReadOnlyMany]} | at '/persistence/accessModes/0': value must be one of",
                "persistence: {mountPath: data} | at '/persistence/mountPath': 'data' does not match pattern",
                "persistentVolumeClaimRetentionPolicy: {whenDeleted: Keep} | at '/persistentVolumeClaimRetentionPolicy/whenDeleted': value must be one of '', 'Retain', 'Delete'",
                "fullnameOverride: Counter | at '/fullnameOverride': 'Counter' does not match pattern",
                "podDisruptionBudget: {maxUnavailable: half} | at '/podDisruptionBudget/maxUnavailable'",
                "resources: {limits: {memory: lots}} | at '/resources/limits/memory'",
                "commonLabels: {app.kubernetes.io/name: mine} | at '/commonLabels/app.kubernetes.io~1name': false schema",
                "podLabels: {app.kubernetes.io/instance: mine} | at '/podLabels/app.kubernetes.io~1instance': false schema",
                "commonLabels: {team: 'a b'} | at '/commonLabels/team': 'a b' does not match pattern",
                "updateStrategy: {type: Recreate} | at '/updateStrategy/type': value must be one of '', 'RollingUpdate', 'OnDelete'",
                "podSecurityContext: {fsGroupChangePolicy: Never} | at '/podSecurityContext/fsGroupChangePolicy'",
                "tolerations: [{effect: Never}] | at '/tolerations/0/effect'",
                "extraVolumes: [{emptyDir: {}}] | at '/extraVolumes/0': missing property 'name'",
                "ingress: {hosts: [{host: 'a b'}]} | at '/ingress/hosts/0/host': 'a b' does not match pattern",
                "extraManifests: [{kind: ConfigMap}] | at '/extraManifests/0': missing property 'apiVersion'",
                "imagePullSecrets: [{secret: a}] | at '/imagePullSecrets/0': missing property 'name'",
                "startupProbe: {initialDelay: 3} | at '/startupProbe': additional properties 'initialDelay' not allowed",
                "service: {labels: {counterset.io/service: mine}} | at '/service/labels/counterset.io~1service': false schema",
                "hostAliases: [{ip: here, hostnames: [a]}] | at '/hostAliases/0/ip': 'here' does not match pattern",
                "serviceMonitor: {interval: often} | at '/serviceMonitor/interval': 'often' does not match pattern",
                "prometheusRule: {runbookUrl: runbooks} | at '/prometheusRule/runbookUrl': 'runbooks' does not match pattern",
                "prometheusRule: {alerts: {CounterReplicaDown: {for: soon}}} | at '/prometheusRule/alerts/CounterReplicaDown/for'",
                "autoscaling: {enabled: true} | additional properties 'autoscaling' not allowed",
            })
    void rejectsWrongValues(String values, String message) {
        assertThatThrownBy(() -> Chart.render("app-python", values))
                .hasMessageContaining("values don't meet the specifications of the schema(s)")
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "replicas: 5 | replicas is spelt replicaCount",
                "persistentVolume: {size: 1Gi} | persistentVolume is spelt persistence",
                "ingress: {ingressClassName: nginx} | ingress.ingressClassName is spelt ingress.className",
                "sidecars: [{name: a}] | sidecars is spelt extraContainers",
                "initContainers: [{name: a}] | initContainers is spelt extraInitContainers",
                "extraDeploy: [] | extraDeploy is spelt extraManifests",
                "extraObjects: [] | extraObjects is spelt extraManifests",
                "image: {pullSecrets: [a]} | image.pullSecrets is spelt imagePullSecrets",
                "securityContext: {} | securityContext is spelt containerSecurityContext",
                "topologySpread: {maxSkew: 1} | topologySpread is spelt topologySpreadConstraints",
                "updateStrategy: {partition: 1} | updateStrategy.partition is spelt updateStrategy.rollingUpdate.partition",
                "persistence: {retention: {whenDeleted: Delete}} | persistence.retention is spelt persistentVolumeClaimRetentionPolicy",
                "counter: {create: [a, b]} | tests.counter (\"helm-test\") is not among them",
                "counter: {name: 'a${b}'} | counter.name: 'a${b}' is invalid; expected a text without ${",
                "counter: {create: ['${b}', helm-test]} | counter.create: '${b}' is invalid",
                "metrics: {counters: ['${b}']} | metrics.counters: '${b}' is invalid",
                "peers: {group: '${b}'} | peers.group: '${b}' is invalid",
                "counter: {create: 0} | counter.create=0 lets clients create no counter",
                "{openshift: true, volumePermissions: {enabled: true}} | volumePermissions.enabled needs root",
                "extraPodSpec: {tolerations: []} | extraPodSpec.tolerations is set by the chart",
                "extraPodSpec: {subdomain: a} | extraPodSpec.subdomain cannot be chosen",
                "extraEnv: [{name: LANG, value: C}] | extraEnv: LANG is set by the chart",
                "extraEnv: [{name: A, value: a}, {name: A, value: b}] | extraEnv: \"A\" is listed twice",
                "extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}] | extraVolumes: \"a\" is listed twice",
                "extraVolumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /a}] | extraVolumeMounts: \"/a\" is listed twice",
                "{extraContainers: [{name: a}], extraInitContainers: [{name: a}]} | extraContainers and extraInitContainers: \"a\" is listed twice",
                "hostAliases: [{ip: 192.0.2.1, hostnames: [a]}, {ip: 192.0.2.1, hostnames: [b]}] | hostAliases: \"192.0.2.1\" is listed twice",
                "auth: {protectReads: true} | auth.protectReads needs tokens",
                "tls: {enabled: true} | tls.enabled needs a certificate",
                "tls: {enabled: true, certificate: {enabled: true}} | tls.certificate.issuerRef.name is empty",
                "tls: {certificate: {enabled: true, issuerRef: {name: a}}} | tls.certificate.enabled makes a certificate that nothing uses",
                "managementPort: 8080 | managementPort and containerPort are both 8080",
                "rateLimit: {burst: 5} | do nothing without rateLimit.requestsPerSecond",
                "{auth: {existingSecret: t, protectReads: true}, podMonitor: {enabled: true}} | auth.protectReads keeps Prometheus from reading the metrics",
                "persistence: {name: tls} | persistence.name: 'tls' is invalid",
                "extraVolumeMounts: [{name: a, mountPath: /etc/counter/tls}] | is in use by the chart",
                "{managementPort: 9000, extraContainers: [{name: a, ports: [{containerPort: 9000}]}]} | port \"\" (9000) collides",
                "enabled: false | enabled is for a parent chart's condition",
                "replicaCount: null | replicaCount is missing",
                "{service: {name: a}, headlessService: {name: a}} | service.name and headlessService.name are both \"a\"",
                "{headlessService: {name: app-python-1}, servicePerReplica: {enabled: true}} | headlessService.name is \"app-python-1\"",
                "persistence: {size: 8Mi} | persistence.size: '8Mi' is invalid; expected at least 20Mi",
                "persistence: {size: '20971519'} | persistence.size: '20971519' is invalid; expected at least 20Mi",
                "counter: {durability: 2h} | counter.durability: '2h' is invalid; expected a duration from 1ms to 1h",
                "counter: {idempotency: {maxAge: 3651d}} | counter.idempotency.maxAge: '3651d' is invalid; expected a duration from 1s to 3650d",
                "peers: {timeout: 9ms} | peers.timeout: '9ms' is invalid; expected a duration from 10ms to 30s",
                "peers: {deadline: 500ms} | peers.deadline: '500ms' is invalid; expected a duration from peers.timeout (1s) to 60s",
                "peers: {timeout: 29s, deadline: 10s} | peers.deadline: '10s' is invalid; expected a duration from peers.timeout (29s) to 60s",
                "peers: {timeout: null, deadline: 500ms} | peers.deadline: '500ms' is invalid; expected a duration from peers.timeout (1s) to 60s",
                "peers: {deadline: 2m} | peers.deadline: '2m' is invalid",
                "peers: {refresh: 500ms} | peers.refresh: '500ms' is invalid; expected a duration from 1s to 1d",
                "peers: {lossShown: 366d} | peers.lossShown: '366d' is invalid; expected a duration from 0s to 365d",
                "{replicaCount: 3, persistence: {existingClaim: mine}} | persistence.existingClaim is one volume",
                "{peers: {source: kubernetes}, serviceAccount: {create: false}} | which the chart gives to the namespace's default account only if it is named",
                "networkPolicy: {enabled: true} | networkPolicy.apiServer.cidrs is empty",
                "httpRoute: {enabled: true} | httpRoute.parentRefs is empty",
                "ingressPerReplica: {enabled: true} | ingressPerReplica.domain is empty",
                "{serviceMonitor: {enabled: true}, podMonitor: {enabled: true}} | together would scrape each replica twice",
                "extraEnv: [{name: COUNTER_NAME, value: mine}] | extraEnv: COUNTER_NAME is set by the chart",
                "extraEnv: [{name: COUNTER_INSTANCE, value: me}] | extraEnv: COUNTER_INSTANCE is set by the chart",
                "extraEnv: [{name: JAVA_TOOL_OPTIONS, value: -Xmx1g}] | extraEnv: JAVA_TOOL_OPTIONS is set by the chart",
                "persistence: {name: tmp} | persistence.name: 'tmp' is invalid",
                "persistence: {mountPath: /app/} | persistence.mountPath: '/app/' is invalid",
                "extraVolumes: [{name: data, emptyDir: {}}] | extraVolumes: \"data\" is a volume of the chart",
                "extraVolumes: [{name: tmp, emptyDir: {}}] | extraVolumes: \"tmp\" is a volume of the chart",
                "extraVolumeMounts: [{name: a, mountPath: /data/}] | extraVolumeMounts: \"/data/\" is in use",
                "extraVolumeMounts: [{name: a, mountPath: /tmp}] | extraVolumeMounts: \"/tmp\" is in use",
                "extraContainers: [{name: counter}] | extraContainers: \"counter\" is a container of the chart",
                "extraInitContainers: [{name: import-count}] | extraInitContainers: \"import-count\" is a container of the chart",
                "extraContainers: [{name: a, ports: [{containerPort: 8080}]}] | extraContainers: port \"\" (8080) collides",
                "extraContainers: [{name: a, ports: [{name: http, containerPort: 1}]}] | extraContainers: port \"http\" (1) collides",
                "service: {extraPorts: [{name: other, port: 5000}]} | service.extraPorts: port \"other\" (5000) collides",
                "extraManifests: [{apiVersion: v1, kind: Service, metadata: {name: app-python}}] | extraManifests: Service \"app-python\" has the name of an object of the chart",
            })
    void rejectsContradictoryValues(String values, String message) {
        assertThatThrownBy(() -> Chart.render("app-python", values))
                .hasMessageContaining("Nothing was changed: these values cannot be used.")
                .hasMessageContaining("* ")
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "persistence: {size: 20Mi}",
                "counter: {create: [a, helm-test]}",
                "{counter: {create: [a]}, tests: {counter: visits}}",
                "{counter: {create: 0}, metrics: {counters: [helm-test]}}",
                "{counter: {create: []}, tests: {enabled: false}}",
                "{counter: {create: 0}, existingConfigMap: c}",
                "extraPodSpec: {hostUsers: false, shareProcessNamespace: true}",
                "counter: {durability: 1h}",
                "peers: {timeout: 30s, deadline: 30s, refresh: 0s, lossShown: 0s}",
                "peers: {timeout: null, deadline: null, refresh: '', lossShown: null}",
                "extraManifests: [{apiVersion: v1, kind: Service, metadata: {name: app-python, namespace: other}}]",
                "{counter: {name: null}, extraEnv: [{name: COUNTER_NAME, value: mine}]}",
            })
    void acceptsValuesAtTheBounds(String values) {
        assertThat(Chart.render("app-python", values).statefulSet()).isNotNull();
    }

    @Test
    void namesAreMeasuredInBytes() {
        String name = "é".repeat(65);

        for (String values : List.of(
                "counter: {name: %s}",
                "tests: {counter: %s}", "metrics: {counters: [%s]}", "counter: {create: [%s]}")) {
            assertThatThrownBy(() -> Chart.render("app-python", values.formatted(name)))
                    .hasMessageContaining("'" + name + "' is invalid; expected at most 128 bytes of UTF-8");
        }
    }

    @Test
    void allMessagesArePrintedAtOnce() {
        assertThatThrownBy(() -> Chart.render("app-python", "{replicas: 1, httpRoute: {enabled: true}}"))
                .hasMessageContaining("* replicas is spelt replicaCount")
                .hasMessageContaining("* httpRoute.parentRefs is empty");
    }

    @Test
    void rejectsAReleaseNameThatIsNoServiceName() {
        assertThatThrownBy(() -> Chart.render("1st", ""))
                .hasMessageContaining("\"1st\" cannot be the name of a service")
                .hasMessageContaining("set fullnameOverride");
        assertThat(Chart.render("1st", "fullnameOverride: first").names()).contains("Service/first");
    }

    @Test
    void rejectsAKubernetesThatIsTooOld() {
        assertThatThrownBy(() -> Chart.render("app-python", "", "1.26"))
                .hasMessageContaining("chart requires kubeVersion: >=" + Chart.OLDEST_KUBERNETES);
    }
}
