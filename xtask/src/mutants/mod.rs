//! tmp
mod causes; mod code; mod image; mod lines; mod operators; mod plan; mod rng; mod run; mod table; mod trial;
use std::path::*; 
pub fn dev(corpus:&Path, c:&Path, ours:&Path, seed:u64, count:usize, filter:Option<&str>, log:&Path) {
 let mut objs=vec![];
 let mut stack=vec![corpus.join("in")];
 while let Some(d)=stack.pop() { for e in std::fs::read_dir(d).unwrap() { let p=e.unwrap().path(); if p.is_dir(){stack.push(p)} else if p.extension().is_some_and(|e|e=="args") { let t=std::fs::read_to_string(&p).unwrap(); let mut w:Vec<String>=t.split_whitespace().map(str::to_owned).collect(); let name=w.pop().unwrap(); objs.push(plan::Object{name, input:p.with_extension(""), args:w}); } } }
 objs.sort_by(|a,b|a.name.cmp(&b.name));
 let t=std::time::Instant::now();
 let plan=plan::Plan::new(&objs,seed,count,filter,||()).unwrap();
 eprintln!("scan {:?}", t.elapsed());
 for (o,(p,n)) in plan.operators.iter().zip(plan.places.iter().zip(&plan.objects)) { eprintln!("{:32} {:8} {:5}", o.name,p,n); }
 let t=std::time::Instant::now();
 let setting=run::Setting{corpus:&objs,c,ours,jobs:2};
 let out=run::run(&setting,&plan).unwrap();
 eprintln!("run {:?}", t.elapsed());
 run::log(&out,&log.to_owned()).unwrap();
 println!("{}", run::report(&plan,&out));
}
