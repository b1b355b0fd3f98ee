// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Values work together: every pair of choices, and any values that are set to null or empty. */
class CombinationsTest {

    /**
     * Groups of alternative values, of which a release has one each. The first of each group is the
     * default.
     */
    private static final List<List<String>> CHOICES = List.of(
            List.of("{}", "{replicaCount: 0}", "{replicaCount: 1}"),
            List.of(
                    "{}",
                    "{peers: {source: dns}}",
                    "{rbac: {create: false}}",
                    "{serviceAccount: {create: false, name: counters}}",
                    "{rbac: {create: false}, serviceAccount: {create: false}}"),
            List.of(
                    "{}",
                    "{persistence: {enabled: false, emptyDir: {medium: Memory, sizeLimit: 64Mi}}}",
                    "{persistence: {existingClaim: mine}, replicaCount: 1}",
                    "{persistence: {storageClass: fast, labels: {a: b}, selector: {matchLabels: {c: d}}}}",
                    "{persistence: {name: volume, mountPath: /counts, subPath: a/b}}"),
            List.of("{}", "{persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}}"),
            List.of("{}", "{service: {type: ClusterIP}}", "{service: {type: NodePort, nodePort: 30500}}"),
            List.of("{}", "{service: {sessionAffinity: ClientIP, appProtocol: http, name: web, port: 80}}"),
            List.of("{}", "{service: {extraPorts: [{name: other, port: 9000}], ipFamilyPolicy: PreferDualStack}}"),
            List.of(
                    "{}",
                    "{servicePerReplica: {enabled: true}}",
                    "{servicePerReplica: {enabled: true, type: LoadBalancer}}"),
            List.of("{}", "{ingressPerReplica: {enabled: true, domain: example.com, tlsSecretName: all}}"),
            List.of("{}", "{ingress: {enabled: true}}", "{ingress: {enabled: true, hosts: []}}"),
            List.of("{}", "{httpRoute: {enabled: true, parentRefs: [{name: gateway}]}}"),
            List.of(
                    "{}",
                    "{networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}, clients: [{podSelector: {}}]}}"),
            List.of("{}", "{serviceMonitor: {enabled: true}}", "{podMonitor: {enabled: true}}"),
            List.of("{}", "{prometheusRule: {enabled: true, runbookUrl: 'https://example.com'}}"),
            List.of("{}", "{grafanaDashboard: {enabled: true}}"),
            List.of("{}", "{nameOverride: clicks}", "{fullnameOverride: clicks}", "{namespaceOverride: counters}"),
            List.of("{}", "{existingConfigMap: c}", "{existingSecret: s, extraEnvFrom: [{configMapRef: {name: d}}]}"),
            List.of(
                    "{}",
                    "{auth: {existingSecret: t}}",
                    "{auth: {existingSecret: t, protectReads: true}, managementPort: 9090}"),
            List.of(
                    "{}",
                    "{tls: {enabled: true, existingSecret: c}}",
                    "{tls: {enabled: true, certificate: {enabled: true, issuerRef: {name: ca}}}}"),
            List.of("{}", "{managementPort: 9091}"),
            List.of("{}", "{rateLimit: {requestsPerSecond: 20}}"),
            List.of("{}", "{openshift: true}", "{volumePermissions: {enabled: true}}"),
            List.of("{}", "{persistence: {importFrom: visits.txt}}"),
            List.of("{}", "{tests: {enabled: false}}", "{counter: {create: [helm-test]}}"),
            List.of("{}", "{updateStrategy: {type: OnDelete}}"),
            List.of("{}", "{podDisruptionBudget: {enabled: false}}"),
            List.of(
                    "{}",
                    "{podAntiAffinityPreset: hard, podAntiAffinityTopologyKey: rack, topologySpreadConstraints: []}"),
            List.of("{}", "{startupProbe: {enabled: false}, lifecycle: null}"),
            List.of("{}", """
                    {commonLabels: {team: payments}, commonAnnotations: {a: b}, podLabels: {c: d}, podAnnotations: {e: f},
                     statefulSet: {labels: {g: h}, annotations: {i: j}}, extraPodSpec: {hostUsers: false}}"""),
            List.of("{}", """
                    {extraVolumes: [{name: more, emptyDir: {}}], extraVolumeMounts: [{name: more, mountPath: /more}],
                     extraContainers: [{name: proxy, image: proxy, ports: [{name: proxy, containerPort: 9000}],
                       securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}],
                     extraEnv: [{name: TZ, value: UTC}], extraManifests: [{apiVersion: v1, kind: ConfigMap, metadata: {name: more}}]}"""));

    private static final Pattern MISPRINT = Pattern.compile("null|<nil>|%!|<no value>");

    /** One choice from each group, as positions in {@link #CHOICES}. */
    private record Row(List<Integer> chosen) {

        Set<String> pairs() {
            Set<String> pairs = new HashSet<>();
            for (int a = 0; a < chosen.size(); a++) {
                for (int b = a + 1; b < chosen.size(); b++) {
                    pairs.add(pair(a, chosen.get(a), b, chosen.get(b)));
                }
            }
            return pairs;
        }

        ObjectNode values() {
            ObjectNode values = Chart.YAML.createObjectNode();
            for (int i = 0; i < chosen.size(); i++) {
                values = Cluster.merge(values, yaml(CHOICES.get(i).get(chosen.get(i))));
            }
            return values;
        }
    }

    private static String pair(int a, int choiceOfA, int b, int choiceOfB) {
        return a + "=" + choiceOfA + " " + b + "=" + choiceOfB;
    }

    /**
     * Returns a few rows that contain every pair of choices at least once. Each row begins with a
     * pair that no earlier row has.
     */
    private static List<Row> rows() {
        Set<String> open = new HashSet<>();
        List<int[]> all = new ArrayList<>();
        for (int a = 0; a < CHOICES.size(); a++) {
            for (int b = a + 1; b < CHOICES.size(); b++) {
                for (int i = 0; i < CHOICES.get(a).size(); i++) {
                    for (int j = 0; j < CHOICES.get(b).size(); j++) {
                        open.add(pair(a, i, b, j));
                        all.add(new int[] {a, i, b, j});
                    }
                }
            }
        }
        List<Row> rows = new ArrayList<>();
        for (int[] first : all) {
            if (!open.contains(pair(first[0], first[1], first[2], first[3]))) {
                continue;
            }
            Integer[] row = new Integer[CHOICES.size()];
            row[first[0]] = first[1];
            row[first[2]] = first[3];
            for (int factor = 0; factor < row.length; factor++) {
                if (row[factor] == null) {
                    row[factor] = best(row, factor, open);
                }
            }
            rows.add(new Row(List.of(row)));
            open.removeAll(rows.get(rows.size() - 1).pairs());
        }
        return rows;
    }

    /** Returns the choice that forms the most uncovered pairs with the row's other choices. */
    private static int best(Integer[] row, int factor, Set<String> open) {
        int best = 0;
        long most = -1;
        for (int choice = 0; choice < CHOICES.get(factor).size(); choice++) {
            int candidate = choice;
            long made = IntStream.range(0, row.length)
                    .filter(other -> row[other] != null)
                    .filter(other -> open.contains(
                            other < factor
                                    ? pair(other, row[other], factor, candidate)
                                    : pair(factor, candidate, other, row[other])))
                    .count();
            if (made > most) {
                best = choice;
                most = made;
            }
        }
        return best;
    }

    @TestFactory
    Stream<DynamicTest> everyPairOfChoicesWorksTogether() {
        return rows().stream().map(row -> DynamicTest.dynamicTest(row.chosen.toString(), () -> check(row)));
    }

    private static void check(Row row) {
        ObjectNode values = row.values();
        if (!values.at("/persistence/existingClaim").isMissingNode()) {
            values.put("replicaCount", 1);
        }
        Chart.Objects objects = Chart.render("app-python", values.toString());

        objects.all().forEach(KubernetesTypes.NEWEST::check);
        Consistency.check(objects);
        boolean root = values.at("/volumePermissions/enabled").asBoolean();
        assertThat(PodSecurity.violations(objects.statefulSet().at("/spec/template"))
                        .isEmpty())
                .as("%s", values)
                .isEqualTo(!root);
    }

    /** Returns every leaf value except the number of replicas, which cannot be omitted. */
    private static List<String> leaves() {
        List<String> leaves = new ArrayList<>();
        collect("", Chart.read("values.yaml"), leaves);
        leaves.remove("/replicaCount");
        return leaves;
    }

    private static void collect(String path, JsonNode value, List<String> leaves) {
        if (!value.isObject() || value.isEmpty()) {
            leaves.add(path);
            return;
        }
        value.properties().forEach(e -> collect(path + "/" + e.getKey(), e.getValue(), leaves));
    }

    /**
     * Half of the values are removed. The halves are chosen so that for every two values one half
     * keeps both, one removes both, and one separates them.
     */
    @TestFactory
    Stream<DynamicTest> anyValuesMayBeNullOrEmpty() {
        List<String> leaves = leaves();
        int halves = 32 - Integer.numberOfLeadingZeros(leaves.size() - 1);
        return IntStream.range(0, 4 * halves)
                .mapToObj(i -> DynamicTest.dynamicTest(
                        (i % 2 == 0 ? "null" : "empty") + " in half " + i / 2,
                        () -> emptied(leaves, i / 4, i / 2 % 2 == 0, i % 2 == 0)));
    }

    private static void emptied(List<String> leaves, int bit, boolean set, boolean toNull) {
        JsonNode defaults = Chart.read("values.yaml");
        ObjectNode values = yaml(ON);
        for (int i = 0; i < leaves.size(); i++) {
            if ((i >> bit & 1) == (set ? 1 : 0)) {
                String leaf = leaves.get(i);
                JsonNode value = defaults.at(leaf);
                ObjectNode parent = values.withObject(leaf.substring(0, leaf.lastIndexOf('/')));
                String key = leaf.substring(leaf.lastIndexOf('/') + 1);
                boolean turnsOn = parent.has(key) || key.equals("enabled");
                if (toNull && !turnsOn) {
                    parent.putNull(key);
                } else if (value.isTextual() && !turnsOn) {
                    parent.put(key, "");
                } else if (value.isArray() && !turnsOn) {
                    parent.putArray(key);
                }
            }
        }
        Chart.Objects objects = Chart.render("app-python", values.toString());

        objects.all().forEach(KubernetesTypes.NEWEST::check);
        assertThat(objects.all())
                .filteredOn(o -> !o.path("kind").asText().equals("ConfigMap"))
                .filteredOn(o -> MISPRINT.matcher(o.toString()).find())
                .isEmpty();
    }

    /** Everything that is off by default, with the values that it requires. */
    private static final String ON = """
            ingress: {enabled: true}
            ingressPerReplica: {enabled: true, domain: example.com}
            servicePerReplica: {enabled: true}
            httpRoute: {enabled: true, parentRefs: [{name: gateway}]}
            networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}}
            serviceMonitor: {enabled: true}
            prometheusRule: {enabled: true}
            grafanaDashboard: {enabled: true}
            volumePermissions: {enabled: true}
            auth: {existingSecret: t, protectReads: true}
            tls: {enabled: true, certificate: {enabled: true, issuerRef: {name: ca}}}
            managementPort: 9090
            rateLimit: {requestsPerSecond: 20}
            """;

    private static ObjectNode yaml(String text) {
        try {
            return (ObjectNode) Chart.YAML.readTree(text);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
