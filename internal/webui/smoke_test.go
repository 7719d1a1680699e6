package webui
import ("testing";"net/http/httptest";"fmt";"time")
func TestSmoke(t *testing.T){
 ui,err:=New(Config{}); if err!=nil {t.Fatal(err)}
 w:=httptest.NewRecorder()
 if err:=ui.Login(w,200,Login{}); err!=nil {t.Fatal(err)}
 if err:=ui.Account(w,200,Account{IdleTimeout:time.Minute,Notice:&Notice{},Devices:[]Device{{Current:true},{}}}); err!=nil {t.Fatal(err)}
 if err:=ui.Signout(w,200,Signout{Others:2}); err!=nil {t.Fatal(err)}
 if err:=ui.Demo(w,200,Demo{User:"x",Employees:[]Employee{{}}}); err!=nil {t.Fatal(err)}
 if err:=ui.Message(w,Message{Title:"x",Action:"/x"}); err!=nil {t.Fatal(err)}
 fmt.Println(w.Body.String())
}
