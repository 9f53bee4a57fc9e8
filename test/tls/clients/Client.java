import java.net.Socket;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** Dials 127.0.0.1 at the port given first with javax.net.ssl defaults and offers the server name given second. */
public class Client {
  public static void main(String[] args) throws Exception {
    if (args.length < 2) {
      System.out.println("javax.net.ssl of OpenJDK " + System.getProperty("java.runtime.version"));
      return;
    }
    Socket plain = new Socket("127.0.0.1", Integer.parseInt(args[0]));
    SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
    SSLSocket socket = (SSLSocket) factory.createSocket(plain, args[1], 443, true);
    if (args.length > 2) {
      SSLParameters parameters = socket.getSSLParameters();
      parameters.setApplicationProtocols(args[2].split(","));
      socket.setSSLParameters(parameters);
    }
    socket.startHandshake();
  }
}
