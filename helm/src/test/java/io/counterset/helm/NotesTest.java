// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The notes explain how to reach a service of any type, and what happens to the counts. */
class NotesTest {

    /**
     * The notes print only the address: since Kubernetes 1.30 the ingress status also has
     * {@code ipMode}, "VIP".
     */
    @Test
    void loadBalancer() {
        assertThat(Chart.notes("app-python", "")).contains("""
                    kubectl get service --namespace demo --watch app-python
                  Then print the URL:
                    export SERVICE_IP=$(kubectl get service --namespace demo app-python --output jsonpath="{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}")
                    case $SERVICE_IP in *:*) SERVICE_IP="[$SERVICE_IP]" ;; esac
                    echo http://$SERVICE_IP:5000
                """);
    }

    @Test
    void nodePort() {
        assertThat(Chart.notes("app-python", "service: {type: NodePort, name: web}"))
                .contains("""
                    export NODE_PORT=$(kubectl get service --namespace demo web --output jsonpath="{.spec.ports[0].nodePort}")
                    export NODE_IP=$(kubectl get nodes --output jsonpath="{.items[0].status.addresses[0].address}")
                    case $NODE_IP in *:*) NODE_IP="[$NODE_IP]" ;; esac
                    echo http://$NODE_IP:$NODE_PORT
                """);
    }

    @Test
    void clusterIp() {
        assertThat(Chart.notes("app-python", "service: {type: ClusterIP, port: 80}"))
                .contains("kubectl port-forward --namespace demo service/app-python 8080:80\n")
                .contains("echo http://127.0.0.1:8080\n");
    }

    @Test
    void ingress() {
        String values = """
                service: {type: ClusterIP}
                ingress:
                  enabled: true
                  hosts: [{host: a.example.com, paths: [{path: /x}, {path: /y}]}, {host: b.example.com}]
                  tls: [{hosts: [a.example.com], secretName: a}, {secretName: b}]
                """;

        assertThat(Chart.notes("app-python", values)).contains("""
                  https://a.example.com/x
                  https://a.example.com/y
                  http://b.example.com/
                """);
    }

    @Test
    void httpRoute() {
        String route = "httpRoute: {enabled: true, parentRefs: [{name: edge}], hostnames: %s}";

        assertThat(Chart.notes("app-python", route.formatted("[a.example.com]")))
                .contains("http://a.example.com/   (through the gateway edge)");
        assertThat(Chart.notes("app-python", route.formatted("[]")))
                .contains("Through the gateway edge, under the gateway's host names.");
    }

    @ParameterizedTest
    @ValueSource(strings = {"LoadBalancer", "NodePort", "ClusterIP"})
    void everyTypeExplainsTheCountsAndTheClaims(String type) {
        assertThat(Chart.notes("app-python", "service: {type: " + type + "}"))
                .startsWith("app-python: 3 replicas, each with its own count on its own volume, in namespace demo.")
                .contains("curl -H 'Accept: text/plain' ADDRESS/peers")
                .contains("kubectl exec --namespace demo app-python-0 -- cat count.txt")
                .contains("helm test app-python --namespace demo --logs")
                .contains("What happens to the claims (data-app-python-0, …)")
                .contains("Scaling down keeps the claims")
                .contains("\"helm uninstall\" keeps all claims")
                .contains("| grep -E '/data-app-python-[0-9]+$' | xargs kubectl delete --namespace demo")
                .contains("http://app-python.demo.svc.cluster.local:5000\n")
                .contains("http://app-python-0.app-python-headless.demo.svc.cluster.local:8080 ")
                .doesNotContain("WARNING: scaling", "WARNING: \"helm", "WARNING: the replicas have no volumes");
    }

    @Test
    void warnsOfClaimsThatAreDeleted() {
        String retention =
                "{persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}, replicaCount: 1}";

        assertThat(Chart.notes("app-python", retention))
                .startsWith("app-python: 1 replica, ")
                .contains("WARNING: scaling down DELETES the claims")
                .contains("WARNING: \"helm uninstall\" DELETES the claims")
                .doesNotContain("keeps");
    }

    @Test
    void warnsOfAnOpenLoadBalancer() {
        assertThat(Chart.notes("app-python", ""))
                .contains("WARNING: the service has no login")
                .contains("--set 'service.loadBalancerSourceRanges={203.0.113.0/24}'")
                .contains("\"helm upgrade --wait\" fails")
                .contains("kubectl port-forward --namespace demo service/app-python 8080:5000");
        assertThat(Chart.notes("app-python", "service: {loadBalancerSourceRanges: [10.0.0.0/8]}"))
                .doesNotContain("WARNING");
    }

    @Test
    void ipv6AddressesHaveBrackets() {
        assertThat(Chart.notes("app-python", "service: {type: ClusterIP, externalIPs: ['2001:db8::1', 192.0.2.1]}"))
                .contains("  http://[2001:db8::1]:5000\n  http://192.0.2.1:5000\n");
    }

    @Test
    void anIngressWithoutAHost() {
        assertThat(Chart.notes("app-python", "{service: {type: ClusterIP}, ingress: {enabled: true, hosts: []}}"))
                .contains("  http://ADDRESS-OF-THE-INGRESS/\n");
    }

    @Test
    void oneReplicaFromOutside() {
        assertThat(Chart.notes(
                        "app-python", "ingressPerReplica: {enabled: true, domain: example.com, tlsSecretName: t}"))
                .contains("https://app-python-0.example.com/");
        assertThat(Chart.notes("app-python", "servicePerReplica: {enabled: true}"))
                .contains("kubectl get service --namespace demo app-python-0\n");
    }

    @Test
    void withoutVolumesOrWithAnExistingOne() {
        assertThat(Chart.notes("app-python", "persistence: {enabled: false}"))
                .contains("WARNING: the replicas have no volumes")
                .doesNotContain("What happens to the claim");
        assertThat(Chart.notes("app-python", "{replicaCount: 1, persistence: {existingClaim: mine}}"))
                .contains("mine is yours: neither scaling nor \"helm uninstall\" deletes it.")
                .doesNotContain("kubectl delete");
    }

    @Test
    void anotherNamespaceIsUsed() {
        assertThat(Chart.notes("app-python", "{namespaceOverride: counters, clusterDomain: example.org}"))
                .contains("in namespace counters.")
                .contains("http://app-python.counters.svc.example.org:5000")
                .contains("helm test app-python --namespace demo")
                .doesNotContain("kubectl exec --namespace demo");
    }

    @Test
    void otherNamesAreUsed() {
        assertThat(Chart.notes("app-python", Migration.VALUES))
                .contains("kubectl exec --namespace demo app-python-app-python-chart-0 -- cat count.txt")
                .contains("(app-volume-app-python-app-python-chart-0, …)")
                .contains("grep -E '/app-volume-app-python-app-python-chart-[0-9]+$'");
        assertThat(Chart.notes("app-python", "tests: {enabled: false}")).doesNotContain("helm test");
    }

    @Test
    void aReplicaThatLostItsVolume() {
        for (String values : new String[] {"", """
                        {auth: {existingSecret: t}, tls: {enabled: true, existingSecret: c}, containerPort: 8443}
                        """}) { // the command takes the rest from the pod's environment
            assertThat(Chart.notes("app-python", values))
                    .contains("kubectl exec --namespace demo app-python-1 -- java -jar /app/counter-app.jar"
                            + " restore --from app-python-0\n");
        }
        assertThat(Chart.notes("app-python", "replicaCount: 1"))
                .as("no other replica remembers it")
                .doesNotContain("restore");
    }

    @Test
    void tokensAndTls() {
        assertThat(Chart.notes("app-python", "{auth: {existingSecret: t}, tls: {enabled: true, existingSecret: c}}"))
                .contains("echo https://$SERVICE_IP:5000")
                .as("a certificate rarely has the load balancer's address")
                .contains("""
                      The certificate must have that address, or the DNS name that you use for it. If it has neither, forward a port to one replica:
                        kubectl port-forward --namespace demo service/app-python 8080:5000
                        echo https://localhost:8080
                    """)
                .contains("    https://app-python.demo.svc.cluster.local:5000\n")
                .contains("kubectl get secret --namespace demo c"
                        + " --output go-template='{{index .data \"ca.crt\" | base64decode}}' > ca.crt")
                .contains("TOKEN=$(kubectl get secret --namespace demo t"
                        + " --output go-template='{{.data.write | base64decode}}' | head -n 1)")
                .contains("curl --cacert ca.crt -u :$TOKEN -X POST ADDRESS/count")
                .contains("curl --cacert ca.crt -H 'Accept: text/plain' ADDRESS/peers")
                .doesNotContain("WARNING", "http://");
        assertThat(Chart.notes("app-python", "auth: {existingSecret: t, protectReads: true}"))
                .contains("curl -u :$TOKEN -H 'Accept: text/plain' ADDRESS/peers");
    }
}
