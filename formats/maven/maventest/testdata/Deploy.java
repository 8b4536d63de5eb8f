import java.io.File;
import java.util.ArrayList;
import java.util.List;
import org.apache.maven.repository.internal.MavenRepositorySystemUtils;
import org.apache.maven.wagon.Wagon;
import org.apache.maven.wagon.providers.http.HttpWagon;
import org.eclipse.aether.DefaultRepositorySystemSession;
import org.eclipse.aether.RepositorySystem;
import org.eclipse.aether.artifact.DefaultArtifact;
import org.eclipse.aether.connector.basic.BasicRepositoryConnectorFactory;
import org.eclipse.aether.deployment.DeployRequest;
import org.eclipse.aether.impl.DefaultServiceLocator;
import org.eclipse.aether.repository.LocalRepository;
import org.eclipse.aether.repository.RemoteRepository;
import org.eclipse.aether.spi.connector.RepositoryConnectorFactory;
import org.eclipse.aether.spi.connector.transport.TransporterFactory;
import org.eclipse.aether.transport.wagon.WagonConfigurator;
import org.eclipse.aether.transport.wagon.WagonProvider;
import org.eclipse.aether.transport.wagon.WagonTransporterFactory;

/** Deploys files as mvn deploy does: URL LOCAL GROUP ARTIFACT VERSION (CLASSIFIER:EXTENSION FILE)... */
public class Deploy {
    public static void main(String[] a) throws Exception {
        DefaultServiceLocator locator = MavenRepositorySystemUtils.newServiceLocator();
        locator.addService(RepositoryConnectorFactory.class, BasicRepositoryConnectorFactory.class);
        locator.addService(TransporterFactory.class, WagonTransporterFactory.class);
        locator.setServices(WagonProvider.class, new WagonProvider() {
            public Wagon lookup(String hint) { return new HttpWagon(); }
            public void release(Wagon w) {}
        });
        RepositorySystem system = locator.getService(RepositorySystem.class);
        DefaultRepositorySystemSession session = MavenRepositorySystemUtils.newSession();
        session.setLocalRepositoryManager(system.newLocalRepositoryManager(session, new LocalRepository(a[1])));
        DeployRequest request = new DeployRequest();
        request.setRepository(new RemoteRepository.Builder("larder", "default", a[0]).build());
        for (int i = 5; i + 1 < a.length; i += 2) {
            String[] kind = a[i].split(":", 2);
            request.addArtifact(new DefaultArtifact(a[2], a[3], kind[0], kind[1], a[4]).setFile(new File(a[i + 1])));
        }
        system.deploy(session, request);
    }
}
