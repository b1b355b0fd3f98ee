package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Are wrong values refused, with a message that names the value and what is wrong with it? */
class SchemaTest {

    private static final JsonNode SCHEMA = Chart.read("values.schema.json");

    /** Objects that are Kubernetes' own and go through as they are. */
    private static final List<String> NOT_THE_CHARTS = List.of(
            "/affinity/nodeAffinity",
            "/affinity/podAffinity",
            "/affinity/podAntiAffinity",
            "/extraContainers/0",
            "/extraEnv/0/valueFrom",
            "/extraEnvFrom/0/configMapRef",
            "/extraEnvFrom/0/secretRef",
            "/extraInitContainers/0",
            "/extraVolumes/0",
            "/global",
            "/httpRoute/rules/0/filters/0",
            "/httpRoute/rules/0/matches/0",
            "/lifecycle/postStart",
            "/lifecycle/preStop",
            "/networkPolicy/extraEgress/0/ports/0",
            "/networkPolicy/extraIngress/0/ports/0",
            "/serviceMonitor/metricRelabelings/0",
            "/serviceMonitor/relabelings/0");

    /** A place in the values that holds an object. */
    record Place(String pointer, JsonNode schema) {
        @Override
        public String toString() {
            return pointer.isEmpty() ? "the values" : pointer;
        }
    }

    /** Every object that the schema knows, as a JSON pointer into the values; lists by their first element. */
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
        if (schema.path("type").asText().equals("object")) {
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
    void everyObjectIsStrictOrAMapOrKubernetesOwn() {
        assertThat(objects().stream()
                        .filter(place ->
                                place.schema.path("additionalProperties").isMissingNode())
                        .map(Place::pointer))
                .containsExactlyInAnyOrderElementsOf(NOT_THE_CHARTS);
    }

    @ParameterizedTest
    @MethodSource("strictObjects")
    void unknownKeysAreRefused(Place place) {
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
    void theSchemaKnowsTheValuesAndNothingElse() {
        Set<String> values = fields(Chart.read("values.yaml"));
        values.add("global"); // Helm's own, in a chart that is a part of another one

        assertThat(fields(SCHEMA.path("properties"))).isEqualTo(values);
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
                "replicas: three | at '/replicas': got string, want integer",
                "replicas: -1 | at '/replicas': minimum: got -1, want 0",
                "replicas: 1001 | at '/replicas': maximum: got 1,001, want 1,000",
                "replicas: null | missing property 'replicas'",
                "image: {pullPolicy: Sometimes} | at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
                "image: {digest: 'sha256:abc'} | at '/image/digest': 'sha256:abc' does not match pattern",
                "image: {tag: 1.0} | at '/image/tag': got number, want string",
                "counter: {name: ''} | at '/counter/name': minLength: got 0, want 1",
                "counter: {durability: often} | at '/counter/durability': 'often' does not match pattern",
                "counter: {idempotency: {maxKeys: 0}} | at '/counter/idempotency/maxKeys': minimum: got 0, want 1",
                "counter: {maxPending: 100001} | at '/counter/maxPending': maximum: got 100,001, want 100,000",
                "peers: {timeout: 1} | at '/peers/timeout': got number, want string",
                "peers: {concurrency: 0} | at '/peers/concurrency': minimum: got 0, want 1",
                "peers: {refresh: '0'} | at '/peers/refresh': '0' does not match pattern",
                "metrics: {counters: ['a,b']} | at '/metrics/counters/0': 'a,b' does not match pattern",
                "log: {level: all} | at '/log/level': value must be one of 'error', 'warn', 'info', 'debug', 'trace'",
                "peers: {source: static} | at '/peers/source': value must be one of 'auto', 'kubernetes', 'dns'",
                "containerPort: 80 | at '/containerPort': minimum: got 80, want 1,024",
                "service: {type: ExternalName} | at '/service/type': value must be one of 'LoadBalancer', 'NodePort', 'ClusterIP'",
                "service: {clusterIP: None} | at '/service/clusterIP': 'None' does not match pattern",
                "service: {port: '5000'} | at '/service/port': got string, want integer",
                "service: {loadBalancerSourceRanges: [everyone]} | at '/service/loadBalancerSourceRanges/0': 'everyone' does not match pattern",
                "service: {annotations: {a: true}} | at '/service/annotations/a': got boolean, want string",
                "persistence: {size: big} | at '/persistence/size': 'big' does not match pattern",
                "persistence: {accessModes: []} | at '/persistence/accessModes': minItems: got 0, want 1",
                "persistence: {accessModes: [ReadOnlyMany]} | at '/persistence/accessModes/0': value must be one of",
                "persistence: {mountPath: data} | at '/persistence/mountPath': 'data' does not match pattern",
                "persistence: {retention: {whenDeleted: Keep}} | at '/persistence/retention/whenDeleted': value must be one of 'Retain', 'Delete'",
                "fullnameOverride: Counter | at '/fullnameOverride': 'Counter' does not match pattern",
                "podDisruptionBudget: {maxUnavailable: half} | at '/podDisruptionBudget/maxUnavailable'",
                "resources: {limits: {memory: lots}} | at '/resources/limits/memory'",
                "commonLabels: {app.kubernetes.io/name: mine} | at '/commonLabels/app.kubernetes.io~1name': false schema",
                "podLabels: {app.kubernetes.io/instance: mine} | at '/podLabels/app.kubernetes.io~1instance': false schema",
                "commonLabels: {team: 'a b'} | at '/commonLabels/team': 'a b' does not match pattern",
                "updateStrategy: {type: Recreate} | at '/updateStrategy/type': value must be one of 'RollingUpdate', 'OnDelete'",
                "podSecurityContext: {fsGroupChangePolicy: Never} | at '/podSecurityContext/fsGroupChangePolicy'",
                "tolerations: [{effect: Never}] | at '/tolerations/0/effect'",
                "extraVolumes: [{emptyDir: {}}] | at '/extraVolumes/0': missing property 'name'",
                "ingress: {hosts: [{paths: []}]} | at '/ingress/hosts/0': missing property 'host'",
                "serviceMonitor: {interval: often} | at '/serviceMonitor/interval': 'often' does not match pattern",
                "prometheusRule: {runbookUrl: runbooks} | at '/prometheusRule/runbookUrl': 'runbooks' does not match pattern",
                "prometheusRule: {alerts: {CounterReplicaDown: {for: soon}}} | at '/prometheusRule/alerts/CounterReplicaDown/for'",
                "autoscaling: {enabled: true} | additional properties 'autoscaling' not allowed",
            })
    void wrongValuesAreRefused(String values, String message) {
        assertThatThrownBy(() -> Chart.render("app-python", values))
                .hasMessageContaining("values don't meet the specifications of the schema(s)")
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "networkPolicy: {enabled: true} | networkPolicy.apiServer.cidrs is empty",
                "httpRoute: {enabled: true} | httpRoute.parentRefs is empty",
                "extraEnv: [{name: COUNTER_NAME, value: mine}] | extraEnv: COUNTER_NAME is set by the chart from its own value",
                "extraEnv: [{name: JAVA_TOOL_OPTIONS, value: -Xmx1g}] | extraEnv: JAVA_TOOL_OPTIONS is set by the chart",
                "persistence: {name: tmp} | persistence.name: a volume \"tmp\" is there already",
                "extraVolumes: [{name: data, emptyDir: {}}] | persistence.name: a volume \"data\" is there already",
            })
    void valuesThatContradictEachOtherAreRefused(String values, String message) {
        assertThatThrownBy(() -> Chart.render("app-python", values)).hasMessageContaining(message);
    }

    @Test
    void aReleaseWhoseNameCannotBeAServicesIsRefused() {
        assertThatThrownBy(() -> Chart.render("1st", ""))
                .hasMessageContaining("1st: the name of a service begins with a letter; set fullnameOverride");
        assertThat(Chart.render("1st", "fullnameOverride: first").names()).contains("Service/first");
    }

    @Test
    void aKubernetesThatIsTooOldIsRefused() {
        assertThatThrownBy(() -> Chart.render("app-python", "", "1.26"))
                .hasMessageContaining("chart requires kubeVersion: >=" + Chart.OLDEST_KUBERNETES);
    }

    @Test
    void worksAsAPartOfAnotherChart(@TempDir Path directory) throws IOException {
        Path umbrella = directory.resolve("umbrella");
        Chart.copyTo(umbrella.resolve("charts/counter"));
        Files.writeString(umbrella.resolve("Chart.yaml"), """
                apiVersion: v2
                name: umbrella
                version: 1.0.0
                dependencies: [{name: counter, version: "%s"}]
                """.formatted(System.getProperty("project.version")));
        Files.writeString(umbrella.resolve("values.yaml"), "{global: {team: payments}, counter: {replicas: 2}}");

        assertThat(Chart.render(umbrella, "shop", "", Chart.NEWEST_KUBERNETES)
                        .statefulSet()
                        .at("/spec/replicas")
                        .asInt())
                .isEqualTo(2);
    }
}
